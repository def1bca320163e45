"""Where a lesion lies, how large it is and how often it occurs, measured on its mask.

In: a bool mask [H, W] and the optic disc. Out: plain numbers and names of sides.

Sides are those of the retina. In a photograph of a right eye the disc lies right of the fovea, so nasal is the right
and temporal the left of the picture; in a left eye the other way round. The plane is cut along its two diagonals
through the disc's centre (our own choice: the benchmark publishes no rule).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fundus_ray.data.images import DECODE_ERRORS, misfit
from fundus_ray.errors import DataError

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
SIDES = ("Temporal", "Nasal", "Superior", "Inferior")


def read_mask(
    path: Path, *, width_px: int, height_px: int, above: int = 0, value: int | None = None
) -> NDArray[np.bool_]:
    """The mask [H, W] of an image of this size: lesion where the brightest channel is > `above`, or where the grey
    value is exactly `value`; alpha counts for nothing.

    Raises DataError where it is missing, damaged or of another size than its image.
    """
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L" if value is not None else "RGB"))
    except DECODE_ERRORS as err:
        raise DataError(f"mask {path} cannot be read: {' '.join(str(err).split())}") from None
    mask: NDArray[np.bool_] = grey.max(axis=2) > above if value is None else grey == value
    if why := misfit(path, size=(mask.shape[1], mask.shape[0]), image=(width_px, height_px)):
        raise DataError(why)
    return mask


def count(mask: NDArray[np.bool_]) -> int:
    """How many lesions: groups of pixels that touch at a side or a corner."""
    return int(ndimage.label(mask, structure=EIGHT_NEIGHBOURS)[1])


def sides(mask: NDArray[np.bool_], *, disc: tuple[float, float], eye: str) -> tuple[str, ...]:
    """The sides of the disc's centre (x, y) [px] that hold a lesion's centroid, in SIDES' order. `eye`: "L" or "R".

    A centroid on a diagonal counts as temporal or nasal; one on the disc's centre as temporal. Raises ValueError for
    another eye.
    """
    if eye not in ("L", "R"):
        raise ValueError(f'eye is {eye!r} but sides need "L" or "R"')
    labels, number = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    centroids = ndimage.center_of_mass(mask, labels, range(1, number + 1))
    found = {_side(x - disc[0], y - disc[1], eye=eye) for y, x in centroids}
    return tuple(side for side in SIDES if side in found)


def _side(dx: float, dy: float, *, eye: str) -> str:
    if abs(dy) > abs(dx):
        return "Superior" if dy < 0 else "Inferior"
    towards_nose = dx if eye == "R" else -dx
    return "Nasal" if towards_nose > 0 else "Temporal"


def bin_of(value: float, edges: tuple[float, ...]) -> int:
    """The bin of `value` > 0: 0 up to and with the first edge, len(edges) above the last."""
    return int(np.searchsorted(edges, value, side="left"))
