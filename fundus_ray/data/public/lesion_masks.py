"""Lesion masks as sets ship them: black, with the lesion in white, red or a palette's colour.

In: mask files. Out: those that hold a lesion at all; the pixels of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fundus_ray.data.images import DECODE_ERRORS
from fundus_ray.data.public.reading import RowError


def with_lesions(masks: Mapping[str, Path | None], *, above: int = 0) -> dict[str, Path]:
    """Of these files (None: not there) those in which a pixel's grey value is greater than `above`.

    Raises RowError where one is damaged.
    """
    return {name: path for name, path in masks.items() if path is not None and (brightest(path) > above).any()}


def brightest(path: Path) -> NDArray[np.uint8]:
    """[height, width] the brightest channel of each pixel, alpha left out: IDRiD's masks are red on black. Raises
    RowError where the file is damaged."""
    pixels: NDArray[np.uint8] = mask_pixels(path, mode="RGB").max(axis=2)
    return pixels


def mask_pixels(path: Path, *, mode: str) -> NDArray[np.uint8]:
    """The mask in one of Pillow's modes: "RGB" [height, width, 3], "L" [height, width]. Raises RowError where the file
    is damaged."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except DECODE_ERRORS as err:
        why = " ".join(str(err).split()) or type(err).__name__
        raise RowError("unreadable mask", f"mask {path} is damaged or not an image: {why}") from None
