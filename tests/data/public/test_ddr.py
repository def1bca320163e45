"""DDR's text files of grades, and its masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, mask, photo, text

from fundus_ray.data.labelled import Labelled
from fundus_ray.data.public.ddr import read
from fundus_ray.errors import DataError


def grading(root: Path) -> Path:
    lines = {
        "train": ["007-0004-000.jpg 0", "007-0007-000.jpg 5"],
        "valid": ["007-0026-000.jpg 4"],
        "test": ["a.jpg 6"],
    }
    for folder, rows in lines.items():
        text(root / "DR_grading" / f"{folder}.txt", *rows)
        for row in rows:
            photo(root / "DR_grading" / folder / row.split()[0])
    return root


def segmented(root: Path, folder: str, labels: str, name: str) -> Path:
    top = root / "lesion_segmentation" / folder
    photo(top / "image" / f"{name}.jpg")
    for sub, greys in (("MA", (255,)), ("HE", ()), ("EX", (255, 255)), ("SE", ())):
        mask(top / labels / sub / f"{name}.tif", *greys)
    return root


def test_grades_by_split_and_5_is_ungradable(tmp_path: Path) -> None:
    items = list(read(grading(tmp_path)))
    assert bad(items) == [("test.txt:1", "unknown code")]
    rows = good(items[:-1])
    assert [(key, row.dr_grade, row.gradable, row.official_split) for key, row in rows.items()] == [
        ("DR_grading/train/007-0004-000.jpg", 0, True, "train"),
        ("DR_grading/train/007-0007-000.jpg", None, False, "train"),
        ("DR_grading/valid/007-0026-000.jpg", 4, True, "val"),
    ]


def test_a_line_without_a_grade_is_a_bad_row(tmp_path: Path) -> None:
    text(grading(tmp_path) / "DR_grading" / "train.txt", "007-0004-000.jpg")
    assert bad(read(tmp_path))[0] == ("train.txt:1", "unknown code")


def test_black_masks_are_absent_lesions(tmp_path: Path) -> None:
    row = good(read(segmented(tmp_path, "test", "label", "007-7111-400")))[
        "lesion_segmentation/test/image/007-7111-400.jpg"
    ]
    assert row.findings == ("microaneurysm", "hard_exudate") == tuple(row.masks)
    assert row.official_split == "test"
    assert set(row.annotated) == {"microaneurysm", "retinal_haemorrhage", "hard_exudate", "cotton_wool_spot"}


def test_masks_of_the_valid_split_lie_in_a_folder_of_another_name(tmp_path: Path) -> None:
    row = good(read(segmented(tmp_path, "valid", "segmentation label", "007-3036-100")))
    assert row["lesion_segmentation/valid/image/007-3036-100.jpg"].official_split == "val"


def test_a_missing_mask_is_no_absent_lesion(tmp_path: Path) -> None:
    segmented(tmp_path, "train", "label", "x")
    (tmp_path / "lesion_segmentation" / "train" / "label" / "SE" / "x.tif").unlink()
    assert bad(read(tmp_path)) == [("lesion_segmentation/train/image/x.jpg", "missing file")]


def test_an_image_of_both_parts_is_one_patient(tmp_path: Path) -> None:
    items = read(segmented(grading(tmp_path), "train", "label", "007-0004-000"))
    patients = [item.patient_id for item in items if isinstance(item, Labelled)]
    assert patients.count("007-0004-000") == 2


def test_a_folder_without_either_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither DR_grading nor lesion_segmentation"):
        list(read(tmp_path))
