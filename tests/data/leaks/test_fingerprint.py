"""What a copy keeps and another image does not. Distances are bits of 512."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.leaks.fingerprint import (
    BITS,
    ORIENTATIONS,
    Words,
    field_box,
    file_fingerprint,
    file_fingerprints,
    fingerprint,
)
from fundus_ray.data.leaks.neighbours import COARSE_RADIUS, RADIUS, PrintIndex
from fundus_ray.data.rendered import cfp, oct, oct_signs, uwf
from fundus_ray.data.rendered.cases import Case
from fundus_ray.data.rendered.drawn import Drawn
from fundus_ray.data.rendered.phantoms import paint
from fundus_ray.data.rendered.photo import draw_view, photograph, render_view
from fundus_ray.errors import DataError

SIDE = 336


def eye(seed: int) -> Image.Image:
    return Image.fromarray(paint(seed, image_px=SIDE, disease="normal", findings=()).pixels)


def drawn(picture: Drawn) -> Image.Image:
    return Image.fromarray(picture.pixels)


def scan(seed: int) -> Image.Image:
    """A healthy eye's OCT scan."""
    return drawn(oct.paint_case(oct_signs.Case("normal", (), frozenset()), seed, image_px=SIDE))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def padded(image: Image.Image, left: int, top: int) -> Image.Image:
    """With a black border that is not the same on all sides."""
    wide = Image.new("RGB", (image.width + left + 40, image.height + top))
    wide.paste(image, (left, top))
    return wide


def cut_to_circle(image: Image.Image) -> Image.Image:
    """Black outside a circle that is a little smaller than the field."""
    pixels = np.asarray(image).copy()
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    pixels[np.hypot(axis[:, None], axis[None, :]) > 0.97] = 0
    return Image.fromarray(pixels)


def darker(image: Image.Image) -> Image.Image:
    return image.point(lambda level: int(255 * (level / 255) ** 1.3))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "squashed to 224 x 180": lambda image: image.resize((224, 180)),
    "twice the size": lambda image: image.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC),
    "compressed hard": lambda image: compressed(image, 30),
    "padded": lambda image: padded(image, 70, 25),
    "cut to a circle": cut_to_circle,
    "darker": darker,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "all at once": lambda image: compressed(
        padded(darker(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).resize((200, 200)), 30, 10), 50
    ),
}


def marks(image: Image.Image) -> Words:
    found = fingerprint(image)
    assert found is not None
    return found


def apart(one: Words, other: Words) -> int:
    """Bits that differ in the nearest orientation."""
    return min(int(np.bitwise_count(one ^ other ^ mask).sum()) for mask in ORIENTATIONS.values())


def coarsely_apart(one: Words, other: Words) -> int:
    return min(int(np.bitwise_count(one ^ other ^ mask)[0]) for mask in ORIENTATIONS.values())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """The real photograph."""
    path = photograph(tmp_path_factory.mktemp("photo"), image_px=SIDE, task="laterality").image.path
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_phantom_or_of_the_photograph_is_near(copy: str, photo: Image.Image) -> None:
    for image in (eye(1), eye(2), photo):
        one, other = marks(image), marks(COPIES[copy](image))
        assert coarsely_apart(one, other) <= COARSE_RADIUS
        assert apart(one, other) <= RADIUS


@pytest.mark.parametrize("copy", sorted(COPIES.keys() - {"cut to a circle"}))
def test_a_copy_of_an_oct_scan_is_near(copy: str) -> None:
    for image in map(scan, range(6)):  # the vitreous of some is as dark as a black border may be, of others brighter
        one, other = marks(image), marks(COPIES[copy](image))
        assert coarsely_apart(one, other) <= COARSE_RADIUS
        assert apart(one, other) <= RADIUS


def test_healthy_eyes_of_other_patients_are_far_in_every_modality() -> None:
    # Of 520 drawn photographs these were the nearest to each other.
    alike = (123, 137, 197, 218, 254, 260, 365, 372, 494, 497)
    healthy = Case("normal", ())
    for pictures in (
        [scan(seed) for seed in range(60)],
        [drawn(cfp.paint_case(healthy, seed, image_px=224)) for seed in alike],
        [drawn(uwf.paint_case(healthy, seed, image_px=224)) for seed in range(16)],
    ):
        found = np.array([marks(picture) for picture in pictures])
        assert [near for near in PrintIndex(found).near(found) if near.entry != near.query] == []
        pairs = [(i, k) for i in range(len(found)) for k in range(i)]
        assert min(apart(found[i], found[k]) for i, k in pairs) > RADIUS


def test_other_eyes_are_far(photo: Image.Image) -> None:
    found = [marks(eye(seed)) for seed in range(24)] + [marks(photo)]
    nearest = min(apart(found[i], found[k]) for i in range(len(found)) for k in range(i))
    assert nearest > RADIUS


def test_close_views_of_the_disc_the_macula_and_the_arcades_are_far_from_the_whole_field(photo: Image.Image) -> None:
    close = [seed for seed in range(40) if draw_view(seed).task == "structure"]
    found = [marks(Image.fromarray(render_view(seed, image_px=SIDE))) for seed in close]
    assert min(apart(marks(photo), one) for one in found) > RADIUS


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
        ("upside down", Image.Transpose.FLIP_TOP_BOTTOM),
        ("turned by 180 degrees", Image.Transpose.ROTATE_180),
    ],
)
def test_the_bits_of_a_turned_image_follow_from_those_of_the_image(
    name: str, turn: Image.Transpose, photo: Image.Image
) -> None:
    turned = marks(photo.transpose(turn))
    assert int(np.bitwise_count(marks(photo) ^ turned ^ ORIENTATIONS[name]).sum()) <= 2
    assert int(np.bitwise_count(marks(photo) ^ turned).sum()) > BITS // 4


def test_the_field_is_found_in_its_border() -> None:
    grey = np.full((100, 200), 6, dtype=np.uint8)  # not quite black, as JPEG leaves it
    grey[20:70, 50:120] = 90
    assert field_box(Image.fromarray(grey)) == pytest.approx((50, 20, 120, 70), abs=2)


def test_a_black_image_is_not_cut() -> None:
    assert field_box(Image.new("L", (60, 40))) == (0, 0, 60, 40)


@pytest.mark.parametrize("level", [0, 128])
def test_a_flat_image_has_no_fingerprint(level: int) -> None:
    assert fingerprint(Image.new("RGB", (64, 64), (level, level, level))) is None


def test_files_are_hashed_in_order_by_any_number_of_processes(tmp_path: Path) -> None:
    paths = []
    for seed in range(33):
        paths.append(str(tmp_path / f"{seed}.png"))
        eye(seed).resize((96, 96)).save(paths[-1])
    alone = list(file_fingerprints(paths, workers=1))
    assert [mark is not None and mark.tolist() for mark in file_fingerprints(paths, workers=2)] == [
        mark is not None and mark.tolist() for mark in alone
    ]


def test_a_large_jpeg_gives_what_its_pixels_give(tmp_path: Path) -> None:
    large = eye(3).resize((1600, 1600))
    large.save(tmp_path / "eye.jpg", quality=90)
    found = file_fingerprint(tmp_path / "eye.jpg")
    assert found is not None
    assert apart(found, marks(large)) <= RADIUS // 4


@pytest.mark.parametrize(("content", "said"), [(b"no image", "is damaged or not an image"), (None, "does not exist")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.png {said}"):
        file_fingerprint(tmp_path / "x.png")
