"""ORIGA, G1020 and AIROGS: tables that say of an image whether it has glaucoma, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out, table
from replica import photo

from fundus_ray.data.public import airogs, g1020, origa
from fundus_ray.errors import DataError


def test_origa_without_glaucoma_is_not_called_normal(tmp_path: Path) -> None:
    table(
        tmp_path / "OrigaList.csv",
        [
            {"Eye": "OD", "Filename": "001.jpg", "ExpCDR": 0.7, "Set": "A", "Glaucoma": 0},
            {"Eye": "OS", "Filename": "002.jpg", "ExpCDR": 0.8, "Set": "B", "Glaucoma": 1},
            {"Eye": "OS", "Filename": "003.jpg", "ExpCDR": 0.8, "Set": "B", "Glaucoma": 2},
        ],
    )
    for name in ("001.JPG", "002.jpg", "003.jpg"):
        photo(tmp_path / "Images" / name)
    items = list(origa.read(tmp_path))
    images = kept(items)
    without, with_it = images["Images/001.jpg"], images["Images/002.jpg"]
    assert (without.diagnoses, without.absent, without.eye) == (None, ("glaucoma",), "R")
    assert without.image.name == "001.JPG"
    assert (with_it.diagnoses, with_it.absent, with_it.eye) == (("glaucoma",), (), "L")
    assert left_out(items) == [("OrigaList.csv:4", "unknown code", "Glaucoma is '2'; allowed are 0, 1")]


def test_origas_list_needs_no_column_eye(tmp_path: Path) -> None:
    table(tmp_path / "OrigaList.csv", [{"Filename": "001.jpg", "Glaucoma": 1}])
    photo(tmp_path / "Images" / "001.jpg")
    assert kept(origa.read(tmp_path))["Images/001.jpg"].eye == ""


def test_g1020_names_its_images_with_the_extension(tmp_path: Path) -> None:
    rows = [{"imageID": "image_0.jpg", "binaryLabels": 0}, {"imageID": "image_1.jpg", "binaryLabels": 1}]
    table(tmp_path / "G1020.csv", [*rows, {"imageID": "image_3.jpg", "binaryLabels": 1}])
    for row in rows:
        photo(tmp_path / "Images" / str(row["imageID"]))
    items = list(g1020.read(tmp_path))
    assert {key: (image.diagnoses, image.absent) for key, image in kept(items).items()} == {
        "Images/image_0.jpg": (None, ("glaucoma",)),
        "Images/image_1.jpg": (("glaucoma",), ()),
    }
    ((where, kind, _),) = left_out(items)
    assert (where, kind) == ("G1020.csv:4", "missing file")


def test_airogs_finds_images_in_any_of_its_archives(tmp_path: Path) -> None:
    table(
        tmp_path / "train_labels.csv",
        [
            {"challenge_id": "TRAIN000000", "class": "NRG"},
            {"challenge_id": "TRAIN000001", "class": "RG"},
            {"challenge_id": "TRAIN000002", "class": "U"},
            {"challenge_id": "TRAIN000003", "class": "RG"},
        ],
    )
    photo(tmp_path / "0" / "TRAIN000000.jpg")
    photo(tmp_path / "5" / "TRAIN000001.jpg")
    photo(tmp_path / "5" / "TRAIN000002.jpg")
    items = list(airogs.read(tmp_path))
    images = kept(items)
    assert images["TRAIN000000.jpg"].absent == ("glaucoma",)
    assert images["TRAIN000001.jpg"].diagnoses == ("glaucoma",)
    assert images["TRAIN000001.jpg"].image == tmp_path / "5" / "TRAIN000001.jpg"
    assert [(where, kind) for where, kind, _ in left_out(items)] == [
        ("train_labels.csv:4", "unknown code"),
        ("train_labels.csv:5", "missing file"),
    ]


@pytest.mark.parametrize("module", [origa, g1020, airogs])
def test_without_the_table_the_set_cannot_be_used(module: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label file not found"):
        list(module.SET.read(tmp_path))  # type: ignore[attr-defined]
