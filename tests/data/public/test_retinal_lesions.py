"""Retinal-Lesions: masks with a grey value for what was taken out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from replica import bad, good, mask, photo, text

from fundus_ray.data.public.retinal_lesions import read
from fundus_ray.errors import DataError


def replica(root: Path) -> Path:
    text(root / "dr_grades.csv", "image id,kaggle label,our label", "10_left,1,2", "10_right.jpg,0,0", "15_left,0,1")
    for name in ("10_left", "10_right", "15_left"):
        photo(root / "images_896x896" / f"{name}.jpg")
    masks = root / "lesion_segs_896x896"
    mask(masks / "10_left" / "retinal_hemorrhage.png", 255, 127)
    mask(masks / "10_left" / "cotton_wool_spots.png", 255)
    mask(masks / "10_left" / "microaneurysm.png", 127)
    return root


def test_the_new_grade_the_patient_and_the_eye(tmp_path: Path) -> None:
    rows = good(read(replica(tmp_path)))
    assert [(key, row.dr_grade, row.patient_id, row.eye) for key, row in rows.items()] == [
        ("images_896x896/10_left.jpg", 2, "10", "L"),
        ("images_896x896/10_right.jpg", 0, "10", "R"),
        ("images_896x896/15_left.jpg", 1, "15", "L"),
    ]


def test_grey_127_alone_is_no_lesion(tmp_path: Path) -> None:
    row = good(read(replica(tmp_path)))["images_896x896/10_left.jpg"]
    assert row.findings == ("dot_blot_haemorrhage", "cotton_wool_spot")
    assert "microaneurysm" in row.annotated


def test_the_threshold_leaves_out_what_was_taken_out_again(tmp_path: Path) -> None:
    row = good(read(replica(tmp_path)))["images_896x896/10_left.jpg"]
    pixels = np.asarray(Image.open(row.masks["dot_blot_haemorrhage"]))
    assert int((pixels > row.mask_above).sum()) == 1


def test_an_image_without_a_mask_folder_has_no_lesion(tmp_path: Path) -> None:
    row = good(read(replica(tmp_path)))["images_896x896/15_left.jpg"]
    assert (row.findings, row.masks) == ((), {})


def test_a_damaged_mask_is_a_bad_row(tmp_path: Path) -> None:
    path = replica(tmp_path) / "lesion_segs_896x896" / "15_left" / "hard_exudate.png"
    path.parent.mkdir()
    path.write_text("no image")
    assert bad(read(tmp_path)) == [("dr_grades.csv:4", "unreadable mask")]


def test_without_the_folder_of_masks_no_image_counts_as_free_of_lesions(tmp_path: Path) -> None:
    (replica(tmp_path) / "lesion_segs_896x896").rename(tmp_path / "masks")
    with pytest.raises(DataError, match=r"lesion_segs_896x896 does not exist; without it every image"):
        list(read(tmp_path))
