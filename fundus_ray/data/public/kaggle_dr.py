"""Kaggle's two contests of diabetic retinopathy: EyePACS (2015) and APTOS 2019. Only the grade is labelled, so that
`diagnoses` stays None: a grade of 0 does not say that the eye is normal.

    trainLabels.csv, train/10_left.jpeg          retinopathy_solution.csv, test/1_left.jpeg (where both are there)
    train.csv, train_images/000c1434d8d7.png     (APTOS publishes no labels of its test images)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.public.reading import DR_GRADES, Files, code, person_and_eye, rows_of
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality


def eyepacs_row(cells: Mapping[str, str], *, folder: str, split: str) -> Labelled:
    """`image` and `level`; the patient's number and the eye are in the image's name. Raises RowError."""
    patient, eye = person_and_eye(cells["image"])
    key = f"{folder}{cells['image']}.jpeg"
    return Labelled(
        source="eyepacs",
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=patient,
        eye=eye,
        official_split=split,
        dr_grade=code(cells, "level", DR_GRADES),
    )


def read_eyepacs(root: Path) -> Iterator[Labelled | BadRow]:
    """Training images in `train/` or beside the labels; test images where their labels and folder are there."""
    files = Files(root)
    folders = [("trainLabels.csv", "train/" if (root / "train").is_dir() else "", "train")]
    if (root / "retinopathy_solution.csv").is_file() and (root / "test").is_dir():
        folders.append(("retinopathy_solution.csv", "test/", "test"))
    for name, folder, split in folders:
        table = read_table(root / name, columns=("image", "level"))
        yield from rows_of("eyepacs", table, partial(eyepacs_row, folder=folder, split=split), files=files)


def aptos_row(cells: Mapping[str, str]) -> Labelled:
    """`id_code` and `diagnosis`, a grade. The set names no patients. Raises RowError."""
    key = f"train_images/{cells['id_code']}.png"
    return Labelled(
        source="aptos2019",
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=key,
        official_split="train",
        dr_grade=code(cells, "diagnosis", DR_GRADES),
    )


def read_aptos(root: Path) -> Iterator[Labelled | BadRow]:
    """The rows of train.csv."""
    table = read_table(root / "train.csv", columns=("id_code", "diagnosis"))
    return rows_of("aptos2019", table, aptos_row, files=Files(root))


EYEPACS = PublicSet(
    name="eyepacs",
    title="Kaggle Diabetic Retinopathy Detection (EyePACS)",
    modality=Modality.CFP,
    licence="see its page",
    url="https://www.kaggle.com/c/diabetic-retinopathy-detection",
    patient_key="number before _left or _right in the image's name",
    citation="EyePACS, Diabetic Retinopathy Detection, Kaggle 2015",
    read=read_eyepacs,
)
APTOS = PublicSet(
    name="aptos2019",
    title="APTOS 2019 Blindness Detection",
    modality=Modality.CFP,
    licence="see its page",
    url="https://www.kaggle.com/c/aptos2019-blindness-detection",
    patient_key="",
    citation="Asia Pacific Tele-Ophthalmology Society, APTOS 2019 Blindness Detection, Kaggle 2019",
    read=read_aptos,
)
