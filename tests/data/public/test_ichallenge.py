"""ADAM and PALM: labels by folder or letter, masks that are black on white, places of the fovea."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import black_on_white, kept, left_out
from replica import photo, workbook

from fundus_ray.data.public import adam, palm
from fundus_ray.errors import DataError

FOVEA = ["ID", "imgName", "Fovea_X", "Fovea_Y"]
ADAM_MASKS = Path("Training400-Lesion/Training400-Lesion/Lesion_Masks")
PALM_IMAGES = Path("PALM-Training400/PALM-Training400")
PALM_MASKS = Path("PALM-Training400/PALM-Training400-Annotation-Lession/Lesion_Masks")


def empty(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)


def adam_root(root: Path) -> Path:
    photo(root / "Training400" / "AMD" / "A0001.jpg")
    photo(root / "Training400" / "Non-AMD" / "N0001.jpg")
    rows = [[1, "A0001.jpg", 700.5, 720.25], [2, "N0001.jpg", 0, 0]]
    workbook(root / "Training400" / "Fovea_location.xlsx", [FOVEA, *rows])
    return root


def test_adams_folder_is_the_label_and_a_fovea_at_0_is_not_visible(tmp_path: Path) -> None:
    images = kept(adam.read(adam_root(tmp_path)))
    with_it, without = images["Training400/AMD/A0001.jpg"], images["Training400/Non-AMD/N0001.jpg"]
    assert (with_it.diagnoses, with_it.fovea, with_it.findings) == (
        ("age-related macular degeneration",),
        (700.5, 720.25),
        None,
    )
    assert (without.diagnoses, without.absent) == (None, ("age-related macular degeneration",))
    assert (without.amd_stage, without.fovea) == (None, None)


def test_adams_masks_mark_a_lesion_in_black(tmp_path: Path) -> None:
    root = adam_root(tmp_path)
    empty(root / ADAM_MASKS, *adam.LESIONS)
    drusen = black_on_white(root / ADAM_MASKS / "drusen" / "A0001.bmp")
    black_on_white(root / ADAM_MASKS / "scar" / "A0001.bmp", lesion=False)
    black_on_white(root / ADAM_MASKS / "others" / "A0001.bmp")
    images = kept(adam.read(root))
    with_it, without = images["Training400/AMD/A0001.jpg"], images["Training400/Non-AMD/N0001.jpg"]
    assert (with_it.findings, with_it.masks, with_it.mask_values) == (("drusen",), {"drusen": drusen}, {"drusen": 0})
    assert with_it.annotated == ("drusen", "hard_exudate", "retinal_haemorrhage", "macular_scar")
    assert without.findings == ()


def test_a_damaged_mask_leaves_out_its_image(tmp_path: Path) -> None:
    root = adam_root(tmp_path)
    empty(root / ADAM_MASKS, *adam.LESIONS)
    (root / ADAM_MASKS / "drusen" / "A0001.bmp").write_text("no image")
    items = list(adam.read(root))
    assert list(kept(items)) == ["Training400/Non-AMD/N0001.jpg"]
    assert [(where, kind) for where, kind, _ in left_out(items)] == [("AMD/A0001.jpg", "unreadable mask")]


def test_palms_first_letter_is_the_label_and_high_myopia_is_neither(tmp_path: Path) -> None:
    for name in ("P0001.jpg", "H0001.jpg", "N0001.jpg", "X0001.jpg"):
        photo(tmp_path / PALM_IMAGES / name)
    empty(tmp_path / PALM_MASKS, *palm.LESIONS)
    atrophy = black_on_white(tmp_path / PALM_MASKS / "Atrophy" / "P0001.bmp")
    items = list(palm.read(tmp_path))
    images = kept(items)
    assert {key[-9:]: (image.diagnoses, image.absent) for key, image in images.items()} == {
        "H0001.jpg": (None, ("pathologic myopia",)),
        "N0001.jpg": ((), ()),
        "P0001.jpg": (("pathologic myopia",), ()),
    }
    assert images["PALM-Training400/P0001.jpg"].masks == {"chorioretinal_atrophy": atrophy}
    assert images["PALM-Training400/N0001.jpg"].findings == ()
    assert [(where, kind) for where, kind, _ in left_out(items)] == [("PALM-Training400/X0001.jpg", "unknown code")]


def test_palms_validation_images_are_labelled_by_its_table(tmp_path: Path) -> None:
    photo(tmp_path / "PALM-Training400" / "P0001.jpg")
    photo(tmp_path / "PALM-Validation400" / "V0001.jpg")
    photo(tmp_path / "PALM-Validation400" / "V0002.jpg")
    workbook(
        tmp_path / "PALM-Validation-GT" / "PM_Label_and_Fovea_Location.xlsx",
        [
            ["ID", "imgName", "Label", "Fovea_X", "Fovea_Y"],
            [1, "V0001.jpg", 0, 1285.82, 1080.47],
            [2, "V0002.jpg", 1, "left", 900],
        ],
    )
    items = list(palm.read(tmp_path))
    image = kept(items)["PALM-Validation400/V0001.jpg"]
    assert (image.diagnoses, image.absent, image.official_split) == (None, ("pathologic myopia",), "val")
    assert image.fovea == (1285.82, 1080.47)
    assert left_out(items) == [
        (
            "PM_Label_and_Fovea_Location.xlsx:3",
            "unknown code",
            "Fovea_X, Fovea_Y are 'left', '900'; allowed are two numbers from 0",
        )
    ]


def test_without_images_the_sets_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folder"):
        list(adam.read(tmp_path))
    with pytest.raises(DataError, match="training images not found"):
        list(palm.read(tmp_path))


def test_a_lesion_whose_folder_of_masks_is_missing_is_not_absent(tmp_path: Path) -> None:
    root = adam_root(tmp_path / "adam")
    empty(root / ADAM_MASKS, "drusen", "exudate", "hemorrhage")
    with pytest.raises(DataError, match=r"Lesion_Masks/scar does not exist; without it every image"):
        list(adam.read(root))
    photo(tmp_path / PALM_IMAGES / "P0001.jpg")
    empty(tmp_path / PALM_MASKS, "Atrophy")
    with pytest.raises(DataError, match=r"Lesion_Masks/Detachment does not exist; without it every image"):
        list(palm.read(tmp_path))
