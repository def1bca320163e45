"""Where lesions may lie on the retina of a drawn or photographed eye.

In: an eye, its vessels, the reach of its field. Out: free sites, none of which touches another, so that as many lesions
are seen as were drawn. Lengths are in field radii, as in eye.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered.eye import FIELD, PX, Eye, Floats

TRIES = 400
GAP = 2.2  # between two lesions, in units: more than a pixel of a 112 px image, after blur
USUAL_DISTANCE = 0.69  # from disc to fovea in a usual photograph
Where = Callable[[float, float], bool]  # of a point's place (u temporal of, v below) the disc


@dataclass(frozen=True, slots=True)
class Ground:
    """One retina to lay lesions on; `taken` remembers the sites that were given away."""

    eye: Eye
    vessels: Floats  # coverage [S, S]
    reach: tuple[float, float] = (0.86, 0.86)  # half axes of the ellipse that lesions keep to
    unit: float = PX  # what lesions are measured in: a pixel of a 112 px photograph, less on a wide field
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def least(self) -> float:
        """The smallest radius that is seen at this size: three quarters of a pixel."""
        return 0.75 * 2 / self.eye.image_px / FIELD

    @property
    def macular_unit(self) -> float:
        """The same for what keeps to the macula: smaller where disc and fovea are nearer to each other."""
        return max(PX * self.eye.fovea_distance / USUAL_DISTANCE, 0.5 * self.unit)

    def site(
        self,
        rng: np.random.Generator,
        *,
        radius: float,
        centre: tuple[float, float] | None = None,
        spread: float = 0.42,
        clear_of_fovea: float = 0.0,
        where: Where | None = None,
        on_vessels: bool = False,
        in_front: bool = False,
    ) -> NDArray[np.float64] | None:
        """A free place (x, y) for a lesion of this `radius` [units], normally distributed about `centre` (of the
        posterior pole, if None), or None where no try found one. in_front: it may cover other lesions."""
        eye, size = self.eye, radius * self.unit
        middle = eye.place(np.array(0.8 * eye.fovea_distance), np.array(0.0)) if centre is None else centre
        for point in rng.normal(middle, spread, (TRIES, 2)):
            if self._is_free(point, size, clear_of_fovea, in_front) and (on_vessels or not self._on_vessel(point)):
                if where is not None and not where(*self.from_disc(point)):
                    continue
                self.taken.append((float(point[0]), float(point[1]), size))
                return np.asarray(point)
        return None

    def from_disc(self, point: NDArray[np.floating]) -> tuple[float, float]:
        """(u, v): how far temporal of and below the disc a point lies. The inverse of `Eye.place`."""
        one, zero = np.array(1.0), np.array(0.0)
        temporal, down = self.eye.place(one, zero) - self.eye.disc, self.eye.place(zero, one) - self.eye.disc
        offset = np.subtract(point, self.eye.disc)
        return float(offset @ temporal), float(offset @ down)

    def _is_free(self, point: NDArray[np.float64], size: float, clear_of_fovea: float, in_front: bool) -> bool:
        eye, (x, y) = self.eye, point
        inside = (x / max(self.reach[0] - size, 0.05)) ** 2 + (y / max(self.reach[1] - size, 0.05)) ** 2 < 1
        off_disc = np.hypot(x - eye.disc[0], y - eye.disc[1]) > eye.disc_radius + size + 2 * self.unit
        off_fovea = np.hypot(x - eye.fovea[0], y - eye.fovea[1]) > clear_of_fovea + size * bool(clear_of_fovea)
        gap = size + GAP * self.unit
        return bool(inside and off_disc and off_fovea) and all(
            np.hypot(x - other_x, y - other_y) > gap + other
            for other_x, other_y, other in ([] if in_front else self.taken)
        )

    def _on_vessel(self, point: NDArray[np.float64]) -> bool:
        column, row = ((point * FIELD + 1) * self.eye.image_px / 2).astype(int)
        return bool(self.vessels[row, column] > 0.3)


def pixel_of(eye: Eye, point: tuple[float, float]) -> tuple[float, float]:
    """(x, y) [px] of a point in field radii."""
    x, y = ((value * FIELD + 1) * eye.image_px / 2 - 0.5 for value in point)
    return x, y
