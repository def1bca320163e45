"""Messidor-2's images beside the grades that others published."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, photo, text

from fundus_ray.data.public.messidor2 import read

HEADER = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"


def replica(root: Path, *rows: str) -> Path:
    text(root / "messidor_data.csv", HEADER, *(rows or ("20051020_43808_0100_PP.png,2,1,1", "IM000001.jpg,0.0,0.0,1")))
    photo(root / "IMAGES" / "20051020_43808_0100_PP.png")
    photo(root / "IMAGES" / "IM000001.JPG")
    return root


def test_grades_and_images_in_whatever_letter_case(tmp_path: Path) -> None:
    rows = good(read(replica(tmp_path)))
    assert [(key, row.dr_grade, row.dme_grade, row.gradable) for key, row in rows.items()] == [
        ("IMAGES/20051020_43808_0100_PP.png", 2, 1, True),
        ("IMAGES/IM000001.JPG", 0, 0, True),
    ]
    assert rows["IMAGES/IM000001.JPG"].image == tmp_path / "IMAGES" / "IM000001.JPG"


def test_an_image_in_another_format_than_the_table_says_is_found(tmp_path: Path) -> None:
    assert list(good(read(replica(tmp_path, "IM000001.png,1,0,1")))) == ["IMAGES/IM000001.JPG"]


def test_grades_are_not_read_where_the_image_is_ungradable(tmp_path: Path) -> None:
    row = good(read(replica(tmp_path, "IM000001.jpg,,,0")))["IMAGES/IM000001.JPG"]
    assert (row.dr_grade, row.dme_grade, row.gradable) == (None, None, False)


@pytest.mark.parametrize("between", [";", ","])
def test_both_images_of_an_examination_are_one_patient(tmp_path: Path, between: str) -> None:
    assert len({row.patient_id for row in good(read(replica(tmp_path))).values()}) == 2
    text(tmp_path / "messidor-2.csv", f"20051020_43808_0100_PP.png{between}IM000001.jpg")
    assert len({row.patient_id for row in good(read(tmp_path)).values()}) == 1


def test_bad_rows_are_named(tmp_path: Path) -> None:
    photo(replica(tmp_path) / "copy" / "IM000001.jpg")
    rows = (
        "IM000009.jpg,0,0,1",
        "IM000001.jpg,0,0,1",
        "20051020_43808_0100_PP.png,,0,1",
        "20051020_43808_0100_PP.png,0,2,1",
    )
    items = list(read(replica(tmp_path, *rows)))
    kinds = ["missing file", "ambiguous file", "missing value", "unknown code"]
    assert bad(items) == [(f"messidor_data.csv:{line}", kind) for line, kind in enumerate(kinds, start=2)]
