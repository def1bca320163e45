"""The optic disc as sets draw it: a mask that also holds the cup, or an outline a reader.

In: the set's own files. Out: `Disc`, and the eye that follows from where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_ray.data.images import DECODE_ERRORS, misfit
from fundus_ray.data.public.lesion_masks import brightest
from fundus_ray.data.public.reading import RowError

WHITE = 255
LARGEST_SHARE = 0.25  # of the picture; a mask that marks more is coded otherwise than its reader expects


@dataclass(frozen=True, slots=True)
class Disc:
    """`centre` is the centroid (x, y) [px]."""

    centre: tuple[float, float]
    area_px: float


def disc_of(mask: Path, *, image: Path, on_white: bool = False) -> Disc | None:
    """The disc, cup included, in a mask that is 0 elsewhere, or WHITE elsewhere where `on_white`; None for nothing.

    Raises RowError where a file is damaged, the mask is of another size than its image, or marks too much of it.
    """
    pixels = brightest(mask)
    marked = pixels < WHITE if on_white else pixels > 0
    if why := misfit(mask, size=(marked.shape[1], marked.shape[0]), image=_size(image)):
        raise RowError("unusable mask", why)
    if marked.mean() > LARGEST_SHARE:
        raise RowError("unusable mask", f"mask {mask} marks {marked.mean():.0%} of the image as optic disc")
    rows, columns = np.nonzero(marked)
    return Disc((float(columns.mean()), float(rows.mean())), float(rows.size)) if rows.size else None


def outlined_disc(outlines: Sequence[Path]) -> Disc | None:
    """The mean of what several readers outlined; a file has a point `x y` [px] a line. None without a file.

    Area and centroid by the shoelace formula (Bourke, Calculating the area and centroid of a polygon, 1988). Raises
    RowError where a file holds no polygon.
    """
    drawn = [_polygon(path) for path in outlines]
    if not drawn:
        return None
    x, y, area = (float(np.mean(values)) for values in zip(*drawn, strict=True))
    return Disc((x, y), area)


def eye_of(disc: tuple[float, float], fovea: tuple[float, float]) -> str:
    """ "R" or "L": the disc lies on the nose's side of the fovea, which is the right of a right eye's picture."""
    return "R" if disc[0] > fovea[0] else "L"


def _polygon(path: Path) -> tuple[float, float, float]:
    """(x, y, area) of one outline."""
    try:
        points = np.loadtxt(path, ndmin=2)
        x, y = points.T
    except (OSError, ValueError) as err:
        raise RowError("unusable outline", f"{path} holds no points `x y`: {' '.join(str(err).split())}") from None
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    if not abs(area) > 0:
        raise RowError("unusable outline", f"{path} encloses no area")
    centre = [float(((one + np.roll(one, -1)) * cross).sum() / (6 * area)) for one in (x, y)]
    return centre[0], centre[1], abs(float(area))


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except DECODE_ERRORS as err:
        raise RowError("unreadable image", f"image {path} cannot be read: {' '.join(str(err).split())}") from None
