"""Image references: whole images pass, damaged ones are named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.images import image_ref, read_pixels, unreadable
from fundus_ray.errors import DataError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "eye.png"
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_a_reference_holds_size_and_hash_and_leads_back_to_the_pixels(picture: Path) -> None:
    ref = image_ref(picture)
    assert (ref.width_px, ref.height_px) == (30, 20)
    assert ref.sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert np.array_equal(np.asarray(read_pixels(ref)), np.asarray(Image.open(picture)))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.9])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=rf"cut\.{suffix} is damaged or not an image") as caught:
        image_ref(path)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_anywhere_give_either_an_image_or_a_data_error(picture: Path) -> None:
    rng = np.random.default_rng(2)
    whole = picture.read_bytes()
    failures = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        picture.write_bytes(bytes(damaged))
        try:
            image_ref(picture)
        except DataError:
            failures += 1
    assert failures > 100  # PNG guards its chunks by checksums


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        image_ref(tmp_path / "gone.png")


def test_a_folder_in_place_of_an_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        image_ref(tmp_path)


def test_sixteen_bit_images_are_refused_rather_than_clipped_to_white(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(path)
    with pytest.raises(DataError, match="more than 8 bits"):
        image_ref(path)


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "1"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (5, 4)).save(path)
        assert read_pixels(image_ref(path)).mode == "RGB"


def test_a_photograph_lying_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "side.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise to view
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    ref = image_ref(path)
    assert (ref.width_px, ref.height_px) == (20, 30)
    assert read_pixels(ref).size == (20, 30)


def test_of_many_images_those_that_are_gone_or_have_changed_are_told_by_their_place(picture: Path) -> None:
    refs = []
    for name in ("kept", "changed", "removed", "kept too"):
        path = picture.with_name(f"{name}.png")
        path.write_bytes(picture.read_bytes())
        refs.append(image_ref(path))
    picture.with_name("changed.png").write_bytes(b"other bytes")
    picture.with_name("removed.png").unlink()
    assert unreadable(refs) == {
        1: f"image {picture.with_name('changed.png')} has changed since the data set was loaded (its sha256 differs)",
        2: f"image {picture.with_name('removed.png')} does not exist",
    }


def test_an_image_that_changed_since_loading_is_refused(picture: Path) -> None:
    ref = image_ref(picture)
    Image.new("RGB", (30, 20)).save(picture)
    with pytest.raises(DataError, match="has changed"):
        read_pixels(ref)
