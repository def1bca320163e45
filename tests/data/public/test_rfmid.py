"""RFMiD: 45 columns of 0 and 1, in three parts that each count from 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out, table
from replica import photo

from fundus_ray.data.public import rfmid
from fundus_ray.errors import DataError

PARTS = {"Training": "a", "Validation": "b", "Testing": "c"}


def row(number: int, *present: str, **cells: object) -> dict[str, object]:
    columns = {column: int(column in present) for column in rfmid.DISEASES}
    return {"ID": number, "Disease_Risk": int(bool(present)), **columns, **cells}


def rfmid_root(root: Path, rows: list[dict[str, object]]) -> Path:
    """The same rows in each part."""
    for part, letter in PARTS.items():
        table(root / "2. Groundtruths" / f"{letter}. RFMiD_{part}_Labels.csv", rows)
        for cells in rows:
            photo(root / "1. Original Images" / f"{letter}. {part} Set" / f"{cells['ID']}.png")
    return root


def test_mh_is_media_haze_and_mhl_macular_hole(tmp_path: Path) -> None:
    images = kept(rfmid.read(rfmid_root(tmp_path, [row(1, "MH"), row(2, "MHL"), row(3, "EDN", "ODE")])))
    test = "1. Original Images/c. Testing Set"
    assert images[f"{test}/1.png"].diagnoses == ("media haze",)
    assert images[f"{test}/2.png"].diagnoses == ("macular hole",)
    assert images[f"{test}/3.png"].diagnoses == ("optic disc oedema", "hard exudates")


def test_images_of_one_number_in_three_parts_are_three_images(tmp_path: Path) -> None:
    images = kept(rfmid.read(rfmid_root(tmp_path, [row(1)])))
    assert {image.official_split: image.diagnoses for image in images.values()} == {"train": (), "val": (), "test": ()}
    assert len({image.patient_id for image in images.values()}) == 3


def test_rows_that_contradict_themselves_or_hold_other_codes_are_left_out(tmp_path: Path) -> None:
    rows = [row(1, Disease_Risk=1), row(2, "DR", Disease_Risk=0), row(3, "DR", BRVO=2), row(4, "DR", CL="")]
    items = list(rfmid.read(rfmid_root(tmp_path, rows)))
    assert kept(items) == {}
    assert left_out(items)[:4] == [
        ("a. RFMiD_Training_Labels.csv:2", "contradiction", "Disease_Risk is 1 but the other columns say no disease"),
        (
            "a. RFMiD_Training_Labels.csv:3",
            "contradiction",
            "Disease_Risk is 0 but the other columns say diabetic retinopathy",
        ),
        ("a. RFMiD_Training_Labels.csv:4", "unknown code", "BRVO is '2'; allowed are 0, 1"),
        ("a. RFMiD_Training_Labels.csv:5", "missing value", "CL is empty; allowed are 0, 1"),
    ]


def test_kaggles_layout_gives_the_same_keys(tmp_path: Path) -> None:
    for folder, name, images in (
        ("Training_Set", "Training", "Training"),
        ("Evaluation_Set", "Validation", "Validation"),
        ("Test_Set", "Testing", "Test"),
    ):
        table(tmp_path / folder / folder / f"RFMiD_{name}_Labels.csv", [row(5, "RP")])
        photo(tmp_path / folder / folder / images / "5.png")
    assert list(kept(rfmid.read(tmp_path))) == [
        f"1. Original Images/{letter}. {part} Set/5.png" for part, letter in PARTS.items()
    ]


def test_a_missing_column_makes_the_set_unusable(tmp_path: Path) -> None:
    cells = row(1)
    del cells["MHL"]
    with pytest.raises(DataError, match="lacks the column MHL"):
        list(rfmid.read(rfmid_root(tmp_path, [cells])))
