"""AIROGS: about 100,000 colour photographs, each with referable glaucoma (RG) or without (NRG)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.layout import file_name, first_of, folders_in
from fundus_ray.data.public.reading import Files, RowError, attempt, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "airogs"
GLAUCOMA = ("glaucoma",)
CLASSES = {"RG": True, "NRG": False}


def row_of(row: Mapping[str, str], *, files: Files, folders: tuple[str, ...]) -> Labelled:
    """One image, which lies in any of `folders` (the training images come in six archives)."""
    glaucoma = code(row, "class", CLASSES)
    name = f"{file_name(row, 'challenge_id')}.jpg"
    found = (files.find_any(f"{folder}/{name}") for folder in folders)
    image = next((path for path in found if path is not None), None)
    if image is None:
        raise RowError("missing file", f"{name} does not exist in {files.root} or in a folder of it")
    return Labelled(
        source=NAME,
        key=name,
        image=image,
        modality=Modality.CFP,
        patient_id=name,
        official_split="train",
        diagnoses=GLAUCOMA if glaucoma else None,
        absent=() if glaucoma else GLAUCOMA,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of the table. Raises DataError where the table or a column is missing."""
    table = root / first_of(root, "train_labels.csv", what="label file")
    inside = folders_in(root)
    deeper = [folder for parent in inside for folder in folders_in(parent)]
    folders = (".", *(folder.relative_to(root).as_posix() for folder in (*inside, *deeper)))
    one = partial(row_of, files=Files(root), folders=folders)
    for row in read_table(table, columns=("challenge_id", "class")):
        yield attempt(NAME, row.where, partial(one, row.cells))


SET = PublicSet(
    name=NAME,
    title="AIROGS",
    modality=Modality.CFP,
    licence="see its page",
    url="https://airogs.grand-challenge.org/",
    patient_key="",
    citation="de Vente et al., AIROGS: Artificial Intelligence for Robust Glaucoma Screening Challenge, IEEE TMI 2024",
    read=read,
    space=Space(alone=GLAUCOMA),
)
