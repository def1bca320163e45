"""FIVES: the letter at the end of a file name is the label."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo

from fundus_ray.data.public import fives
from fundus_ray.errors import DataError


def test_the_letter_tells_the_disease(tmp_path: Path) -> None:
    for name in ("1_A.png", "2_D.png", "3_G.png", "4_N.png"):
        photo(tmp_path / "train" / "Original" / name)
    photo(tmp_path / "test" / "Original" / "1_A.png")
    (tmp_path / "train" / "Original" / "Thumbs.db").write_text("no image")
    images = kept(fives.read(tmp_path))
    assert {key: image.diagnoses for key, image in images.items()} == {
        "train/Original/1_A.png": ("age-related macular degeneration",),
        "train/Original/2_D.png": ("diabetic retinopathy",),
        "train/Original/3_G.png": ("glaucoma",),
        "train/Original/4_N.png": (),
        "test/Original/1_A.png": ("age-related macular degeneration",),
    }
    assert images["test/Original/1_A.png"].official_split == "test"


def test_another_letter_is_left_out(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "Original" / "5_X.png")
    (tmp_path / "test" / "Original").mkdir(parents=True)
    assert left_out(fives.read(tmp_path)) == [
        ("train/Original/5_X.png", "unknown code", "image '5_X.png' ends in none of _A, _D, _G, _N")
    ]


def test_a_missing_split_makes_the_set_unusable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images of train not found; looked for 'train/Original'"):
        list(fives.read(tmp_path))
