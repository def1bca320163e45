"""ORIGA: 650 colour photographs, each with glaucoma or without."""

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

NAME = "origa"
GLAUCOMA = ("glaucoma",)
MASKS = {"Images": "Masks", "images": "masks", "ORIGA/Images": "ORIGA/Masks"}  # beside the images: 1 disc, 2 cup


def row_of(row: Mapping[str, str], *, folder: str, files: Files) -> Labelled:
    """One image. 0 says that there is no glaucoma, not that the fundus is normal. The column `Eye` may be missing."""
    glaucoma = code(row, "Glaucoma", NO_OR_YES)
    name = file_name(row, "Filename")
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
        eye=code(row, "Eye", {"OD": "R", "OS": "L"}) if row.get("Eye") else "",
        diagnoses=GLAUCOMA if glaucoma else None,
        absent=() if glaucoma else GLAUCOMA,
        disc=disc.centre if disc else None,
        disc_area_px=disc.area_px if disc else None,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of the list. Raises DataError where the list, a column or the image folder is missing."""
    table = root / first_of(root, "OrigaList.csv", "ORIGA/OrigaList.csv", what="label file")
    folder = first_of(root, "Images", "images", "ORIGA/Images", ".", what="image folder")
    files = Files(root)
    rows = ((row.where, row.cells) for row in read_table(table, columns=("Filename", "Glaucoma"), optional=("Eye",)))
    yield from located_rows(NAME, rows, partial(row_of, folder=folder, files=files), files=files)


SET = PublicSet(
    name=NAME,
    title="ORIGA",
    modality=Modality.CFP,
    licence="see its page",
    url="https://www.kaggle.com/datasets/arnavjain1/glaucoma-datasets",
    patient_key="",
    citation="Zhang et al., ORIGA-light: An online retinal fundus image database for glaucoma analysis, EMBC 2010",
    read=read,
    space=Space(alone=GLAUCOMA),
)
