"""TOP, the Tsukazaki Optos Public Project: ultra-wide-field photographs with nine conditions, each 0 or 1."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.layout import file_name, first_of, folders_in, image_folder, located_rows
from fundus_ray.data.public.reading import NO_OR_YES, Files, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

log = logging.getLogger(__name__)

NAME = "top"
# DM, the ninth condition, is of the whole body and not to be seen: no label of an image.
DISEASES = {
    "AMD": "age-related macular degeneration",
    "RVO": "retinal vein occlusion",
    "Gla": "glaucoma",
    "MH": "macular hole",
    "DR": "diabetic retinopathy",
    "RD": "retinal detachment",
    "RP": "retinitis pigmentosa",
    "AO": "retinal artery occlusion",
}


def row_of(row: Mapping[str, str], *, folder: str) -> Labelled:
    """One image. The patient is in column `ID`; a copy of the table without it leaves only the number that the file
    name starts with, which several people can share and of which one person can have two."""
    name = file_name(row, "filename")
    return Labelled(
        source=NAME,
        key=f"TOP/{name}",
        image=Path(folder, name),
        modality=Modality.UWF,
        patient_id=row["ID"] if "ID" in row else name.split("_")[0],
        eye=code(row, "LR", {"L": "L", "R": "R"}),
        diagnoses=tuple(disease for column, disease in DISEASES.items() if code(row, column, NO_OR_YES)),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of the table. Raises DataError where the table, a column or the image folder is missing."""
    others = [path.relative_to(root).as_posix() for path in sorted(root.glob("*.csv"))]
    table = root / first_of(root, "data.csv", "TOP/data.csv", *others, what="label file")
    inside = [folder.name for folder in folders_in(root)]
    folder = image_folder(root, "img", "TOP/img", "TOP", ".", *inside, what="image folder").relative_to(root).as_posix()
    yield from located_rows(NAME, _rows(table), partial(row_of, folder=folder), files=Files(root))


def _rows(table: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    told = False
    for row in read_table(table, columns=("filename", "LR", *DISEASES), optional=("ID",)):
        if not told and "ID" not in row.cells:
            log.warning("%s lacks the column ID; patients are told apart by file names alone, and not well", table)
            told = True
        yield row.where, row.cells


SET = PublicSet(
    name=NAME,
    title="TOP (Tsukazaki ultra-wide-field)",
    modality=Modality.UWF,
    licence="research only, see its page",
    url="https://github.com/DateCazuki/Fundus_Diagnosis",
    patient_key="ID",
    citation="Tsukazaki Optos Public Project, Tsukazaki Hospital",
    read=read,
    space=Space(conditions=tuple(DISEASES.values())),
)
