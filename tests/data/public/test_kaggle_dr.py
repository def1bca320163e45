"""EyePACS and APTOS as Kaggle ships them."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, photo, text

from fundus_ray.data.public.kaggle_dr import aptos_row, read_aptos, read_eyepacs
from fundus_ray.errors import DataError


def eyepacs(root: Path) -> Path:
    text(root / "trainLabels.csv", "image,level", "10_left,0", "10_right,4")
    for name in ("10_left", "10_right"):
        photo(root / "train" / f"{name}.jpeg")
    return root


def test_eyepacs_grade_patient_and_eye(tmp_path: Path) -> None:
    rows = good(read_eyepacs(eyepacs(tmp_path)))
    right = rows["train/10_right.jpeg"]
    assert list(rows) == ["train/10_left.jpeg", "train/10_right.jpeg"]
    assert (right.dr_grade, right.patient_id, right.eye, right.official_split) == (4, "10", "R", "train")
    assert right.image == tmp_path / "train" / "10_right.jpeg"


def test_eyepacs_a_grade_of_0_does_not_call_the_eye_normal(tmp_path: Path) -> None:
    assert good(read_eyepacs(eyepacs(tmp_path)))["train/10_left.jpeg"].diagnoses is None


def test_eyepacs_images_may_lie_beside_their_labels(tmp_path: Path) -> None:
    text(tmp_path / "trainLabels.csv", "image,level", "10_left,2")
    photo(tmp_path / "10_left.jpeg")
    assert list(good(read_eyepacs(tmp_path))) == ["10_left.jpeg"]


def test_eyepacs_test_images_are_read_where_their_folder_is_there(tmp_path: Path) -> None:
    text(eyepacs(tmp_path) / "retinopathy_solution.csv", "image,level,Usage", "1_left,3,Private")
    assert len(good(read_eyepacs(tmp_path))) == 2
    photo(tmp_path / "test" / "1_left.jpeg")
    row = good(read_eyepacs(tmp_path))["test/1_left.jpeg"]
    assert (row.dr_grade, row.official_split, row.patient_id) == (3, "test", "1")


def test_eyepacs_bad_rows_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    text(
        eyepacs(tmp_path) / "trainLabels.csv",
        "image,level",
        "10_left,5",
        "10_mid,0",
        "11_left,0",
        "12_left,",
        "10_right,4",
    )
    items = list(read_eyepacs(tmp_path))
    assert bad(items) == [
        ("trainLabels.csv:2", "unknown code"),
        ("trainLabels.csv:3", "unknown name"),
        ("trainLabels.csv:4", "missing file"),
        ("trainLabels.csv:5", "missing value"),
    ]
    assert len(items) == 5


def test_eyepacs_the_repack_with_other_columns_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "trainLabels.csv", "image_id,dr", "10_left,0")
    with pytest.raises(DataError, match="lacks the columns image, level; it has image_id, dr"):
        list(read_eyepacs(tmp_path))


def test_aptos_grade_without_patient(tmp_path: Path) -> None:
    text(tmp_path / "train.csv", "id_code,diagnosis", "000c1434d8d7,2", "001639a390f0,9")
    photo(tmp_path / "train_images" / "000c1434d8d7.png")
    items = list(read_aptos(tmp_path))
    assert bad(items) == [("train.csv:3", "unknown code")]
    row = good(items[:1])["train_images/000c1434d8d7.png"]
    assert (row.dr_grade, row.patient_id, row.eye) == (2, row.key, "")


def test_a_grade_that_a_spreadsheet_wrote_as_2_0_is_2() -> None:
    assert aptos_row({"id_code": "x", "diagnosis": "2.0"}).dr_grade == 2
