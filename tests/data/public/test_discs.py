"""The optic disc in masks and outlines, with centres and areas worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from replica import mask, photo, text

from fundus_ray.data.public.discs import Disc, disc_of, eye_of, outlined_disc
from fundus_ray.data.public.reading import RowError


def test_rim_and_cup_are_the_disc(tmp_path: Path) -> None:
    image = photo(tmp_path / "i.png")
    assert disc_of(mask(tmp_path / "m.png", 0, 1, 2, 1), image=image) == Disc((2.0, 0.0), 3.0)
    white = np.full((8, 12), 255, np.uint8)
    white[4:6, 3:5], white[4, 3] = 128, 0
    Image.fromarray(white).save(tmp_path / "w.bmp")
    assert disc_of(tmp_path / "w.bmp", image=image, on_white=True) == Disc((3.5, 4.5), 4.0)


def test_a_mask_without_a_disc_is_none(tmp_path: Path) -> None:
    assert disc_of(mask(tmp_path / "m.png"), image=photo(tmp_path / "i.png")) is None


def test_a_mask_that_cannot_be_a_disc_is_refused(tmp_path: Path) -> None:
    image = photo(tmp_path / "i.png")
    with pytest.raises(RowError, match="marks 97% of the image as optic disc"):  # white and black taken for each other
        disc_of(mask(tmp_path / "m.png", 255, 255, 255), image=image, on_white=True)
    Image.new("L", (6, 4)).save(tmp_path / "small.png")
    with pytest.raises(RowError, match="is 6 x 4 px but its image 12 x 8 px"):
        disc_of(tmp_path / "small.png", image=image)


def test_outlines_of_two_readers_are_averaged(tmp_path: Path) -> None:
    one = text(tmp_path / "1.txt", "2 2", "4 2", "4 4", "2 4")  # a square of 4 px about (3, 3)
    two = text(tmp_path / "2.txt", "2 2", "2 4", "6 4", "6 2")  # 8 px about (4, 3), the other way round
    assert outlined_disc([one, two]) == Disc((3.5, 3.0), 6.0)
    assert outlined_disc([]) is None


@pytest.mark.parametrize("lines", [["1 2", "x 3"], ["1 2 3", "4 5 6"], ["1 1", "2 2"]])
def test_an_outline_that_is_no_polygon_is_refused(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(RowError, match=r"o\.txt (holds no points|encloses no area)"):
        outlined_disc([text(tmp_path / "o.txt", *lines)])


def test_the_disc_lies_on_the_right_of_a_right_eyes_fovea() -> None:
    assert eye_of((9, 4), (3, 5)) == "R"
    assert eye_of((2, 4), (8, 5)) == "L"
