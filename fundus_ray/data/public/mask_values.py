"""Masks that mark lesions by grey values of their own: black on white (iChallenge), or one value a lesion (RETOUCH).

In: a mask file. Out: the values that occur in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fundus_ray.data.images import DECODE_ERRORS
from fundus_ray.data.public.reading import RowError


def grey_values(mask: Path) -> set[int]:
    """The grey values that occur in a mask, alpha left out. Raises RowError where it is damaged."""
    try:
        with Image.open(mask) as image:
            return set(np.unique(np.asarray(image.convert("L"))).tolist())
    except DECODE_ERRORS as err:
        why = " ".join(str(err).split()) or type(err).__name__
        raise RowError("unreadable mask", f"mask {mask} is damaged or not an image: {why}") from None
