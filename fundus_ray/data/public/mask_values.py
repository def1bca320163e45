"""Masks that mark lesions by grey values of their own: black on white (iChallenge), or one value a lesion (RETOUCH).

In: a mask file. Out: the values that occur in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fundus_ray.data.public.lesion_masks import mask_pixels


def grey_values(mask: Path) -> set[int]:
    """The grey values that occur in a mask, alpha left out. Raises RowError where it is damaged."""
    return set(np.unique(mask_pixels(mask, mode="L")).tolist())
