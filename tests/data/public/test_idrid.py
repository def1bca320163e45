"""IDRiD's three parts in their own folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, mask, photo, text

from fundus_ray.data.public.idrid import read
from fundus_ray.errors import DataError

B, A, C = "B. Disease Grading", "A. Segmentation", "C. Localization"
TRAIN, TEST = "a. Training Set", "b. Testing Set"
HEADER = "Image name,Retinopathy grade,Risk of macular edema ,,,,"  # with the trailing space, and empty columns


def grading(root: Path, *rows: str) -> Path:
    truths = root / B / "2. Groundtruths"
    text(truths / "a. IDRiD_Disease Grading_Training Labels.csv", HEADER, *(rows or ("IDRiD_001,3,2,,,,",)), ",,,,,,")
    text(truths / "b. IDRiD_Disease Grading_Testing Labels.csv", HEADER, "IDRiD_001,0,0,,,,")
    for folder in (TRAIN, TEST):
        photo(root / B / "1. Original Images" / folder / "IDRiD_001.jpg")
    return root


def segmentation(root: Path) -> Path:
    truths = root / A / "2. All Segmentation Groundtruths" / TRAIN
    photo(root / A / "1. Original Images" / TRAIN / "IDRiD_01.jpg")
    for empty in ("2. Haemorrhages", "4. Soft Exudates"):
        (truths / empty).mkdir(parents=True)
    mask(truths / "1. Microaneurysms" / "IDRiD_01_MA.tif", 255, mode="RGBA")
    mask(truths / "3. Hard Exudates" / "IDRiD_01_EX.tif", mode="RGBA")  # a file, but nothing in it
    mask(truths / "5. Optic Disc" / "IDRiD_01_OD.tif", 255, 255, 255, mode="RGBA")
    return root


def test_grades_of_both_splits_though_their_images_share_names(tmp_path: Path) -> None:
    rows = good(read(grading(tmp_path)))
    train, test = (
        rows[f"{B}/1. Original Images/{TRAIN}/IDRiD_001.jpg"],
        rows[f"{B}/1. Original Images/{TEST}/IDRiD_001.jpg"],
    )
    assert (train.dr_grade, train.dme_grade, train.official_split) == (3, 2, "train")
    assert (test.dr_grade, test.dme_grade, test.official_split) == (0, 0, "test")
    assert train.patient_id != test.patient_id


def test_the_image_is_found_in_another_letter_case(tmp_path: Path) -> None:
    folder = grading(tmp_path) / B / "1. Original Images" / TRAIN
    (folder / "IDRiD_001.jpg").rename(folder / "IDRiD_001.JPG")
    assert good(read(tmp_path))[f"{B}/1. Original Images/{TRAIN}/IDRiD_001.jpg"].image == folder / "IDRiD_001.JPG"


def test_unknown_codes_are_named_by_row(tmp_path: Path) -> None:
    items = list(read(grading(tmp_path, "IDRiD_001,5,0,,,,", "IDRiD_001,1,3,,,,", "IDRiD_999,1,1,,,,")))
    file = "a. IDRiD_Disease Grading_Training Labels.csv"
    assert bad(items) == [(f"{file}:2", "unknown code"), (f"{file}:3", "unknown code"), (f"{file}:4", "missing file")]


def test_masks_become_findings_and_an_absent_or_empty_mask_is_an_absent_lesion(tmp_path: Path) -> None:
    row = good(read(segmentation(tmp_path)))[f"{A}/1. Original Images/{TRAIN}/IDRiD_01.jpg"]
    assert row.findings == ("microaneurysm",) == tuple(row.masks)
    assert row.masks["microaneurysm"].name == "IDRiD_01_MA.tif"
    assert row.annotated == ("microaneurysm", "retinal_haemorrhage", "hard_exudate", "cotton_wool_spot")
    assert row.dr_grade is None


def test_a_missing_folder_of_masks_is_no_absent_lesion(tmp_path: Path) -> None:
    folder = segmentation(tmp_path) / A / "2. All Segmentation Groundtruths" / TRAIN / "4. Soft Exudates"
    folder.rmdir()
    with pytest.raises(DataError, match=r"4\. Soft Exudates does not exist; without it every image"):
        list(read(tmp_path))


def test_the_disc_mask_gives_the_centre_of_the_disc(tmp_path: Path) -> None:
    row = good(read(segmentation(tmp_path)))[f"{A}/1. Original Images/{TRAIN}/IDRiD_01.jpg"]
    assert (row.disc, row.disc_area_px) == ((1.0, 0.0), 3.0)  # pixels 0, 1 and 2 of the first row
    assert row.eye == "L"  # left of the middle of an image that is centred on the macula


def test_a_damaged_mask_makes_its_image_a_bad_row(tmp_path: Path) -> None:
    path = (
        segmentation(tmp_path)
        / A
        / "2. All Segmentation Groundtruths"
        / TRAIN
        / "1. Microaneurysms"
        / "IDRiD_01_MA.tif"
    )
    path.write_bytes(b"II*")
    assert bad(read(tmp_path)) == [(f"{A}/1. Original Images/{TRAIN}/IDRiD_01.jpg", "unreadable mask")]


def test_centres_of_disc_and_fovea_tell_the_eye(tmp_path: Path) -> None:
    truths = tmp_path / C / "2. Groundtruths"
    header, blank = "Image No,X- Coordinate,Y - Coordinate,,", ",,,,"
    disc, fovea = truths / "1. Optic Disc Center Location", truths / "2. Fovea Center Location"
    text(
        disc / "a. IDRiD_OD_Center_Training Set_Markups.csv",
        header,
        "IDRiD_001,9,4,,",
        "IDRiD_002,2,4,,",
        "IDRiD_003,x,4,,",
        blank,
    )
    text(fovea / "IDRiD_Fovea_Center_Training Set_Markups.csv", header, "IDRiD_001,3,5,,", "IDRiD_002,8.5,5,,", blank)
    text(disc / "b. IDRiD_OD_Center_Testing Set_Markups.csv", header, "IDRiD_001,9,4,,", blank)
    text(fovea / "IDRiD_Fovea_Center_Testing Set_Markups.csv", header, blank)
    for folder, names in ((TRAIN, ("IDRiD_001", "IDRiD_002", "IDRiD_003")), (TEST, ("IDRiD_001",))):
        for name in names:
            photo(tmp_path / C / "1. Original Images" / folder / f"{name}.jpg")
    items = list(read(tmp_path))
    assert bad(items) == [("a. IDRiD_OD_Center_Training Set_Markups.csv:4", "unknown code")]
    rows = [(row.disc, row.fovea, row.eye) for row in good(item for item in items if item is not items[2]).values()]
    assert rows == [((9.0, 4.0), (3.0, 5.0), "R"), ((2.0, 4.0), (8.5, 5.0), "L"), ((9.0, 4.0), None, "")]


def test_a_folder_without_any_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of the folders A\. Segmentation, B\. Disease Grading"):
        list(read(tmp_path))
