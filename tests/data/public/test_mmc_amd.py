"""MMC-AMD: class, patient and eye in the image's id, the split in lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo, text

from fundus_ray.data.public import mmc_amd
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

CFP = {"train": ["f-d-ICG-5508-l", "f-p-ICG-5508-r"], "val": ["f-h-219981"], "test": ["f-w-ICG-5430"]}
OCT = {"train": ["o-d-44397335-l"], "val": ["o-h-219981_17"], "test": ["o-w-ICG-5430_002"]}


def mmc_root(root: Path, *, cfp: str = "cfp-448x448", oct_folder: str = "oct", prefix: str = "mmc-amd-splitA") -> Path:
    for ids, letter, folder in ((CFP, "cfp", cfp), (OCT, "oct", oct_folder)):
        for split, names in ids.items():
            text(root / f"{prefix}-{split}" / "ImageSets" / f"{letter}.txt", *names)
            for name in names:
                photo(root / "ImageData" / folder / f"{name}.jpg")
    return root


def test_the_id_tells_class_patient_and_eye(tmp_path: Path) -> None:
    images = kept(mmc_amd.read(mmc_root(tmp_path)))
    seen = {key: (image.diagnoses, image.patient_id, image.eye) for key, image in images.items()}
    assert seen["ImageData/cfp-448x448/f-d-ICG-5508-l.jpg"] == (
        ("dry age-related macular degeneration",),
        "ICG-5508",
        "L",
    )
    assert seen["ImageData/cfp-448x448/f-p-ICG-5508-r.jpg"] == (("polypoidal choroidal vasculopathy",), "ICG-5508", "R")
    assert seen["ImageData/oct/o-h-219981_17.jpg"] == ((), "219981", "")
    assert seen["ImageData/oct/o-w-ICG-5430_002.jpg"] == (
        ("neovascular age-related macular degeneration",),
        "ICG-5430",
        "",
    )


def test_lists_give_the_split_and_the_folder_the_modality(tmp_path: Path) -> None:
    images = kept(mmc_amd.read(mmc_root(tmp_path)))
    assert [(image.official_split, image.modality) for image in images.values()] == [
        ("train", Modality.CFP),
        ("train", Modality.CFP),
        ("val", Modality.CFP),
        ("test", Modality.CFP),
        ("train", Modality.OCT),
        ("val", Modality.OCT),
        ("test", Modality.OCT),
    ]


def test_the_split_that_keeps_patients_apart_is_taken_before_the_other(tmp_path: Path) -> None:
    mmc_root(tmp_path)
    for split, names in {"train": ["f-w-ICG-5430"], "val": [], "test": ["f-d-ICG-5508-l"]}.items():
        text(tmp_path / f"mmc-amd-splitAP-{split}" / "ImageSets" / "cfp.txt", *names)
        text(tmp_path / f"mmc-amd-splitAP-{split}" / "ImageSets" / "oct.txt")
    images = kept(mmc_amd.read(tmp_path))
    assert {key: image.official_split for key, image in images.items()} == {
        "ImageData/cfp-448x448/f-w-ICG-5430.jpg": "train",
        "ImageData/cfp-448x448/f-d-ICG-5508-l.jpg": "test",
    }


def test_processed_images_keep_the_key_of_those_they_came_from(tmp_path: Path) -> None:
    root = mmc_root(tmp_path, cfp="cfp-clahe-448x448", oct_folder="oct-median3x3-448x448")
    image = kept(mmc_amd.read(root))["ImageData/oct/o-w-ICG-5430_002.jpg"]
    assert image.image == root / "ImageData/oct-median3x3-448x448/o-w-ICG-5430_002.jpg"


def test_images_without_lists_have_no_split(tmp_path: Path) -> None:
    photo(tmp_path / "ImageData" / "cfp-448x448" / "f-w-ICG-5430.jpg")
    photo(tmp_path / "ImageData" / "oct" / "o-x-1.jpg")
    items = list(mmc_amd.read(tmp_path))
    assert [image.official_split for image in kept(items).values()] == [""]
    assert [(where, kind) for where, kind, _ in left_out(items)] == [("ImageData/oct/o-x-1.jpg", "unknown name")]


def test_without_images_the_set_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image folder not found"):
        list(mmc_amd.read(tmp_path))
