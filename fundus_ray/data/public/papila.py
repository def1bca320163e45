"""PAPILA: colour photographs of both eyes of 244 patients: healthy, glaucoma or suspect, in a sheet for each eye."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.discs import outlined_disc
from fundus_ray.data.public.layout import first_of, located_rows
from fundus_ray.data.public.reading import Files, code
from fundus_ray.data.tables import read_cells
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "papila"
SHEETS = {"od": "R", "os": "L"}
DIAGNOSES: dict[str, tuple[str, ...]] = {"0": (), "1": ("glaucoma",), "2": ("suspected glaucoma",)}
OUTLINES, READERS = "ExpertsSegmentations/Contours", ("exp1", "exp2")


@dataclass(frozen=True, slots=True)
class EyeRow:
    """One row of a sheet."""

    patient: str  # as written: #002
    side: str  # "od" | "os"
    diagnosis: str


def row_of(row: EyeRow, *, files: Files) -> Labelled:
    """One eye: patient `#002` of the sheet for right eyes is FundusImages/RET002OD.jpg."""
    diagnoses = code({"Diagnosis": row.diagnosis}, "Diagnosis", DIAGNOSES)
    number = row.patient.removeprefix("#")
    name = f"RET{number}{row.side.upper()}"
    key = f"FundusImages/{name}.jpg"
    outlines = [files.find_any(f"{OUTLINES}/{name}_disc_{reader}.txt") for reader in READERS]
    disc = outlined_disc([path for path in outlines if path is not None])
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=number,
        eye=SHEETS[row.side],
        diagnoses=diagnoses,
        disc=disc.centre if disc else None,
        disc_area_px=disc.area_px if disc else None,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of both sheets. Raises DataError where a sheet, its column or the image folder is missing."""
    first_of(root, "FundusImages", what="image folder")
    files = Files(root)
    for side in SHEETS:
        sheet = root / first_of(root, f"ClinicalData/patient_data_{side}.xlsx", what="clinical data")
        yield from located_rows(NAME, _eye_rows(sheet, side), partial(row_of, files=files), files=files)


def _eye_rows(sheet: Path, side: str) -> Iterator[tuple[str, EyeRow]]:
    """The rows below the headers: those whose first cell, which no header row names, is a patient's `#` and number."""
    column = None
    for where, cells in read_cells(sheet):
        if cells[0].startswith("#"):
            if column is None:
                break
            yield where, EyeRow(cells[0], side, cells[column] if column < len(cells) else "")
        elif column is None and "Diagnosis" in cells:
            column = cells.index("Diagnosis")
    if column is None:
        raise DataError(f"{sheet} lacks the column Diagnosis in the rows above the first patient")


SET = PublicSet(
    name=NAME,
    title="PAPILA",
    modality=Modality.CFP,
    licence="see its page",
    url="https://doi.org/10.6084/m9.figshare.14798004",
    patient_key="first column, # and number",
    citation="Kovalyk et al., PAPILA: Dataset with fundus images and clinical data of both eyes, Scientific Data 2022",
    read=read,
    space=Space(conditions=once(DIAGNOSES.values())),
)
