"""REFUGE: the first letter labels a training image, a label file any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo, workbook

from fundus_ray.data.public import refuge
from fundus_ray.errors import DataError


def test_the_first_letter_labels_a_training_image(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "Images" / "g0001.jpg")
    photo(tmp_path / "train" / "Images" / "n0001.jpg")
    images = kept(refuge.read(tmp_path))
    with_it, without = images["train/Images/g0001.jpg"], images["train/Images/n0001.jpg"]
    assert (with_it.diagnoses, with_it.absent) == (("glaucoma",), ())
    assert (without.diagnoses, without.absent) == (None, ("glaucoma",))


def test_kaggles_index_labels_the_later_splits(tmp_path: Path) -> None:
    photo(tmp_path / "val" / "Images" / "V0001.jpg")
    photo(tmp_path / "val" / "Images" / "V0002.jpg")
    records = [
        {"ImgName": "V0001.jpg", "Fovea_X": 1057.9, "Fovea_Y": 1075.6, "Label": 1},
        {"ImgName": "V0003.jpg", "Fovea_X": 0, "Fovea_Y": 0, "Label": 0},
    ]
    (tmp_path / "val" / "index.json").write_text(json.dumps({str(at): record for at, record in enumerate(records)}))
    items = list(refuge.read(tmp_path))
    image = kept(items)["val/Images/V0001.jpg"]
    assert (image.diagnoses, image.fovea, image.official_split) == (("glaucoma",), (1057.9, 1075.6), "val")
    assert [(where, kind) for where, kind, _ in left_out(items)] == [
        ("val/V0002.jpg", "no label"),
        ("val/v0003.jpg", "missing file"),
    ]


def test_the_challenges_own_layout_gives_the_same_keys(tmp_path: Path) -> None:
    photo(tmp_path / "Training400" / "Glaucoma" / "g0001.jpg")
    photo(tmp_path / "Training400" / "Non-Glaucoma" / "n0001.jpg")
    photo(tmp_path / "REFUGE-Validation400" / "V0001.jpg")
    photo(tmp_path / "Test400" / "T0001.jpg")
    header = ["ID", "ImgName", "Fovea_X", "Fovea_Y"]
    workbook(
        tmp_path / "REFUGE-Validation400-GT" / "Fovea_locations.xlsx",
        [[*header, "Glaucoma Label"], [1, "V0001.jpg", 820.5, 790, 0]],
    )
    workbook(
        tmp_path / "REFUGE-Test-GT" / "Glaucoma_label_and_Fovea_location.xlsx",
        [["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"], [1, "T0001.jpg", 1, 0, 0]],
    )
    images = kept(refuge.read(tmp_path))
    assert list(images) == [
        "train/Images/g0001.jpg",
        "train/Images/n0001.jpg",
        "val/Images/V0001.jpg",
        "test/Images/T0001.jpg",
    ]
    assert images["val/Images/V0001.jpg"].fovea == (820.5, 790.0)
    assert (images["test/Images/T0001.jpg"].diagnoses, images["test/Images/T0001.jpg"].fovea) == (("glaucoma",), None)


def test_a_folder_of_something_else_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images not found; looked for 'train/Images'"):
        list(refuge.read(tmp_path))
    photo(tmp_path / "train" / "Images" / "g0001.jpg")
    (tmp_path / "train" / "index.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="is no JSON object of records with ImgName"):
        list(refuge.read(tmp_path))
