"""One rendered picture with everything that is known of it.

In: what a renderer drew. Out: `Drawn`, from which files and `Labelled` rows are made (rows.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fundus_ray.types import Modality

Point = tuple[float, float]  # (x, y) [px]; a pixel's own place is its centre, so the first is (0, 0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, its labels and its masks. None: the label does not apply to such a picture."""

    modality: Modality
    title: str  # what a contact sheet puts it under
    pixels: NDArray[np.uint8]  # [H, W, 3]
    diagnoses: tuple[str, ...]  # () = normal
    masks: Mapping[str, NDArray[np.bool_]]  # finding id -> [H, W]; each finding that is there, and no other
    counts: Mapping[str, int] = field(default_factory=dict)  # finding id -> number drawn, where none touches another
    eye: str = ""  # "L" | "R" | ""
    disc: Point | None = None
    fovea: Point | None = None
    disc_area_px: float | None = None
    dr_grade: int | None = None
    amd_stage: str | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """Ids of what is there."""
        return tuple(self.masks)


def mirrored(drawn: Drawn) -> Drawn:
    """The other eye: the same picture from right to left."""
    width = drawn.pixels.shape[1]

    def across(point: Point | None) -> Point | None:
        return None if point is None else (width - 1 - point[0], point[1])

    return replace(
        drawn,
        pixels=np.ascontiguousarray(drawn.pixels[:, ::-1]),
        masks={name: np.ascontiguousarray(mask[:, ::-1]) for name, mask in drawn.masks.items()},
        eye={"L": "R", "R": "L", "": ""}[drawn.eye],
        disc=across(drawn.disc),
        fovea=across(drawn.fovea),
    )
