"""Lesions laid on the one real photograph: real retina, drawn disease.

In: a seed and a side in pixels. Out: `Drawn`. The photograph (photo.py) is of a healthy left eye; mirrored, of a right
one. All pictures are of ONE eye: "held out" means views and lesions that were not trained on, not other patients.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fundus_ray.data.rendered import eye as anatomy
from fundus_ray.data.rendered.cases import Case, draw_laid_case
from fundus_ray.data.rendered.cfp import described
from fundus_ray.data.rendered.drawn import Drawn
from fundus_ray.data.rendered.eye import FIELD, Eye, Floats
from fundus_ray.data.rendered.ground import Ground
from fundus_ray.data.rendered.laying import Laid, generator, lay
from fundus_ray.data.rendered.photo import FIELD_CENTRE, FIELD_RADIUS, STRUCTURES, View, cut
from fundus_ray.types import Modality

DISC_RADIUS = 0.118  # of the photograph's disc, measured by hand, in field radii
RED = 0.82  # brightness of red on the drawn retina, which the lesions' colours are made for


def draw_on_photo(seed: int, *, image_px: int) -> Drawn:
    """The photograph with the lesions of `seed`, turned a little and mirrored in half of the cases."""
    return paint_case(draw_laid_case(generator(seed, "lesions")), seed, image_px=image_px)


def paint_case(case: Case, seed: int, *, image_px: int) -> Drawn:
    """The photograph with the findings of `case`, as `seed` turns and lights it."""
    rng = generator(seed, "view")
    view = View(
        "laterality",
        "",
        FIELD_CENTRE,
        FIELD_RADIUS / FIELD,
        degrees=rng.uniform(-12, 12),
        mirrored=bool(rng.random() < 0.5),
        upside_down=False,
    )
    eye = _eye(view, image_px=image_px)
    photo = np.asarray(cut(view, image_px=image_px), dtype=np.float32) / np.float32(255)
    light = _lighting(photo)
    flat = np.asarray(photo / light[..., None], dtype=np.float32)
    ground = Ground(eye, _vessels(photo))
    laid = Laid(flat)
    lay(laid, case.plan, ground, seed=seed, beneath=True)
    over = (1 - ground.vessels[..., None]) * (laid.image - flat)
    laid.image = np.asarray(flat + over, dtype=np.float32)
    lay(laid, case.plan, ground, seed=seed, beneath=False)
    field = anatomy.field_of_view(image_px)
    drawn = described(
        case,
        eye,
        pixels=_taken(np.asarray(laid.image * light[..., None], dtype=np.float32), field, generator(seed, "camera")),
        masks={name: mask & field for name, mask in laid.masks.items()},
        counts=laid.counts,
        modality=Modality.CFP,
    )
    return replace(drawn, eye="R" if view.mirrored else "L")


def _eye(view: View, *, image_px: int) -> Eye:
    """Disc and fovea of the photograph in the view's own field."""
    return Eye(
        image_px=image_px,
        disc=_placed(STRUCTURES["optic disc"][0], view),
        disc_radius=DISC_RADIUS,
        fovea=_placed(STRUCTURES["macula"][0], view),
        cup_ratio=0.4,
        artery_px=0.0,
        vein_px=0.0,
        artery_paleness=0.0,
        vein_wave_px=0.0,
        sector=0,
    )


def _placed(point: tuple[float, float], view: View) -> tuple[float, float]:
    """Where a place of the photograph (shares of its side) lies in the view [field radii]: what `photo.cut` undoes."""
    across = (point[0] - view.centre[0]) / FIELD_RADIUS * (-1 if view.mirrored else 1)
    down = (point[1] - view.centre[1]) / FIELD_RADIUS
    cos, sin = math.cos(math.radians(view.degrees)), math.sin(math.radians(view.degrees))
    return across * cos - down * sin, across * sin + down * cos


def _lighting(photo: Floats) -> Floats:
    """[S, S] how bright each part of the photograph is against the drawn retina, as its camera lit it."""
    smooth = ndimage.gaussian_filter(photo[..., 0], photo.shape[0] / 14)
    return np.asarray(np.clip(smooth / np.float32(RED), 0.15, 1.3), dtype=np.float32)


def _vessels(photo: Floats) -> Floats:
    """[S, S] in [0, 1]: where green is darker than around."""
    around = ndimage.gaussian_filter(photo[..., 1], photo.shape[0] / 40)
    return np.asarray(np.clip((around - photo[..., 1]) / np.float32(0.06) - np.float32(0.35), 0, 1))


def _taken(image: Floats, field: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """[S, S, 3] as another camera might have taken it."""
    toned = np.clip(image, 0, 1) ** rng.uniform(0.9, 1.15) * rng.uniform(0.9, 1.08, 3)
    noisy = toned + rng.normal(0, rng.uniform(0.004, 0.012), image.shape)
    return np.asarray(np.clip(noisy * field[..., None], 0, 1) * 255, dtype=np.uint8)
