"""G1020: 1,020 colour photographs, each with glaucoma or without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.discs import disc_of
from fundus_ray.data.public.layout import file_name, first_of, located_rows
from fundus_ray.data.public.reading import NO_OR_YES, Files, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "g1020"
GLAUCOMA = ("glaucoma",)
MASKS = {"Images": "Masks", "images": "masks", "G1020/Images": "G1020/Masks"}  # beside the images: 1 disc, 2 cup


def row_of(row: Mapping[str, str], *, folder: str, files: Files) -> Labelled:
    """One image; `imageID` has its extension. 0 says that there is no glaucoma, not that the fundus is normal."""
    glaucoma = code(row, "binaryLabels", NO_OR_YES)
    name = file_name(row, "imageID")
    key = f"Images/{name}"
    found = files.find(f"{folder}/{name}")
    mask = files.find_any(f"{MASKS[folder]}/{found.stem}.png") if folder in MASKS else None
    disc = disc_of(mask, image=found) if mask else None
    return Labelled(
        source=NAME,
        key=key,
        image=Path(folder, name),
        modality=Modality.CFP,
        patient_id=key,
        diagnoses=GLAUCOMA if glaucoma else None,
        absent=() if glaucoma else GLAUCOMA,
        disc=disc.centre if disc else None,
        disc_area_px=disc.area_px if disc else None,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of the table. Raises DataError where the table, a column or the image folder is missing."""
    table = root / first_of(root, "G1020.csv", "G1020/G1020.csv", what="label file")
    folder = first_of(root, "Images", "images", "G1020/Images", ".", what="image folder")
    files = Files(root)
    rows = ((row.where, row.cells) for row in read_table(table, columns=("imageID", "binaryLabels")))
    yield from located_rows(NAME, rows, partial(row_of, folder=folder, files=files), files=files)


SET = PublicSet(
    name=NAME,
    title="G1020",
    modality=Modality.CFP,
    licence="see its page",
    url="https://arxiv.org/abs/2006.09158",
    patient_key="",
    citation="Bajwa et al., G1020: A Benchmark Retinal Fundus Image Dataset for Glaucoma Detection, IJCNN 2020",
    read=read,
    space=Space(alone=GLAUCOMA),
)
