r"""DeepDRiD: backslashes, the folder that paths lack, the column of the other eye, labels as CSV or XLSX."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, photo, text, workbook

from fundus_ray.data.public.deepdrid import image_key, read_regular, read_uwf
from fundus_ray.data.public.reading import RowError
from fundus_ray.types import Modality

HEADER = (
    "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,"
    "Clarity,Field definition,Artifact"
)
REGULAR = "regular_fundus_images"
EVALUATION = "Online-Challenge1&2-Evaluation"
UWF = "ultra-widefield_images"


def regular(root: Path, *more: str) -> Path:
    for part, patient in (("training", 1), ("validation", 265)):
        folder = root / REGULAR / f"regular-fundus-{part}"
        path = rf"regular-fundus-{part}\{patient}\{patient}"
        rows = [
            rf"{patient},{patient}_l1,\{path}_l1.jpg,1,2,,3,10,8,0",
            rf"{patient},{patient}_r2,{path}_r2.jpg,0,,3.0,3,6,8,1",
        ]
        text(folder / f"regular-fundus-{part}.csv", HEADER, *rows, *(more if part == "training" else ()))
        for name in ("l1", "r2"):
            photo(folder / "Images" / str(patient) / f"{patient}_{name}.jpg")
    return root


def uwf(root: Path) -> Path:
    header = "patient_id,image_id,image_path,DR_level,position"
    for part, patient, grade in (("training", 1, 5), ("validation", 34, 1)):
        folder = root / UWF / f"ultra-widefield-{part}"
        row = rf"{patient},{patient}_l2,ultra-widefield-{part}\{patient}\{patient}_l2.jpg,{grade},left_eye"
        text(folder / f"ultra-widefield-{part}.csv", header, row)
        photo(folder / "Images" / str(patient) / f"{patient}_l2.jpg")
    return root


def test_regular_rows_take_the_grade_of_their_own_eye(tmp_path: Path) -> None:
    rows = good(read_regular(regular(tmp_path)))
    assert [(key, row.dr_grade, row.eye, row.patient_id, row.official_split) for key, row in rows.items()] == [
        (f"{REGULAR}/regular-fundus-training/Images/1/1_l1.jpg", 2, "L", "1", "train"),
        (f"{REGULAR}/regular-fundus-training/Images/1/1_r2.jpg", 3, "R", "1", "train"),
        (f"{REGULAR}/regular-fundus-validation/Images/265/265_l1.jpg", 2, "L", "265", "val"),
        (f"{REGULAR}/regular-fundus-validation/Images/265/265_r2.jpg", 3, "R", "265", "val"),
    ]


def test_the_patient_s_grade_and_the_other_eye_s_stand_in_for_none(tmp_path: Path) -> None:
    more = (
        r"1,1_l2,regular-fundus-training\1\1_l2.jpg,1,,4,4,10,8,0",
        r"1,1_x1,regular-fundus-training\1\1_l1.jpg,1,1,,1,1,1,1",
    )
    items = list(read_regular(regular(tmp_path, *more)))
    assert bad(items) == [
        ("regular-fundus-training.csv:4", "missing value"),
        ("regular-fundus-training.csv:5", "unknown name"),
    ]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_labels_of_the_evaluation_images_as_csv_or_xlsx(tmp_path: Path, kind: str) -> None:
    folder = regular(tmp_path) / REGULAR / EVALUATION
    photo(folder / "Images" / "347" / "347_r1.jpg")
    if kind == "csv":
        text(folder / "Challenge1_labels.csv", "image_id,DR_Levels", "347_r1,4")
    else:
        workbook(folder / "Challenge1_labels.xlsx", [["image_id", "DR_Levels"], ["347_r1", 4]])
    row = good(read_regular(tmp_path))[f"{REGULAR}/{EVALUATION}/Images/347/347_r1.jpg"]
    assert (row.dr_grade, row.eye, row.patient_id, row.official_split) == (4, "R", "347", "test")


def test_uwf_position_tells_the_eye_and_5_is_ungradable(tmp_path: Path) -> None:
    rows = good(read_uwf(uwf(tmp_path)))
    assert [(row.dr_grade, row.gradable, row.eye, row.official_split) for row in rows.values()] == [
        (None, False, "L", "train"),
        (1, True, "L", "val"),
    ]
    assert {row.modality for row in rows.values()} == {Modality.UWF}


def test_uwf_evaluation_images_have_the_benchmark_s_key(tmp_path: Path) -> None:
    folder = uwf(tmp_path) / UWF / "Online-Challenge3-Evaluation"
    photo(folder / "Images" / "58" / "58_l2.jpg")
    workbook(folder / "Challenge3_labels.xlsx", [["image_id", "UWF_DR_Levels"], ["58_l2", 0], ["58_l9", 1]])
    items = list(read_uwf(tmp_path))
    assert bad(items) == [("Challenge3_labels.xlsx:3", "missing file")]
    row = good(items[:-1])["ultra-widefield_images/Online-Challenge3-Evaluation/Images/58/58_l2.jpg"]
    assert (row.dr_grade, row.official_split) == (0, "test")


@pytest.mark.parametrize(
    "path", [r"set\1\1_l1.jpg", r"\set\1\1_l1.jpg", "set/1/1_l1.jpg", r"set\Images\1\1_l1.jpg", r"set\\1\\1_l1.jpg"]
)
def test_image_paths_lead_to_the_images_folder(path: str) -> None:
    assert image_key(path, top="top") == "top/set/Images/1/1_l1.jpg"


def test_an_image_path_of_another_form_is_refused() -> None:
    with pytest.raises(RowError, match=r"image_path is '1_l1\.jpg'"):
        image_key("1_l1.jpg", top="top")
