"""ODIR-5K: colour photographs of both eyes of 3,500 patients, as the challenge or Kaggle ships them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.public import odir
from fundus_ray.data.public.layout import first_of, located_rows
from fundus_ray.data.public.reading import Files
from fundus_ray.types import Modality

NAME = "odir_5k"
TABLES = (
    "ODIR-5K_Training_Annotations(Updated)_V2.xlsx",
    "ODIR-5K/ODIR-5K/data.xlsx",
    "ODIR-5K/data.xlsx",
    "data.xlsx",
    "full_df.csv",
)
IMAGES = (
    "ODIR-5K_Training_Images/ODIR-5K_Training_Dataset",
    "ODIR-5K_Training_Images",
    "ODIR-5K_Training_Dataset",
    "ODIR-5K/ODIR-5K/Training Images",
    "ODIR-5K/Training Images",
    "Training Images",
    "preprocessed_images",
    "Images",
    ".",
)


def row_of(row: odir.EyeRow, *, folder: str) -> Labelled:
    """One eye of the annotation table; `folder` holds the images."""
    return odir.row_of(row, source=NAME, key=row.file, image=Path(folder, row.file), official_split="train")


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Both eyes of every patient. Raises DataError where the annotation table or the image folder is missing."""
    table = root / first_of(root, *TABLES, what="annotation table")
    folder = first_of(root, *IMAGES, what="folder of training images")
    yield from located_rows(NAME, odir.eye_rows(table), partial(row_of, folder=folder), files=Files(root))


SET = PublicSet(
    name=NAME,
    title="ODIR-5K",
    modality=Modality.CFP,
    licence="see its page",
    url="https://odir2019.grand-challenge.org/",
    patient_key="ID",
    citation="Peking University International Competition on Ocular Disease Intelligent Recognition (ODIR-2019)",
    read=read,
    space=odir.SPACE,
    same_people_as="oia_odir",
)
