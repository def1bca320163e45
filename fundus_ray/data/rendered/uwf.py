"""Ultra-wide-field photographs with known disease.

In: a seed and a width in pixels. Out: `Drawn`; the height is four fifths of the width.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from fundus_ray.data.rendered import patches, wide_eye
from fundus_ray.data.rendered.cases import Case, draw_wide_case
from fundus_ray.data.rendered.cfp import described
from fundus_ray.data.rendered.drawn import Drawn, Point, mirrored
from fundus_ray.data.rendered.ground import Ground
from fundus_ray.data.rendered.laying import MASK_FROM, Laid, generator, lay
from fundus_ray.types import Modality


def draw_uwf(seed: int, *, image_px: int) -> Drawn:
    """The photograph of `seed`, `image_px` wide."""
    return paint_case(draw_wide_case(generator(seed, "wide photograph")), seed, image_px=image_px)


def paint_case(case: Case, seed: int, *, image_px: int) -> Drawn:
    """The eye of `seed` with the findings of `case`."""
    eye = wide_eye.draw_wide_eye(generator(seed, "eye"), image_px=image_px, **case.anatomy)
    arteries, veins = wide_eye.draw_wide_vessels(eye, generator(seed, "vessels"))
    ground = Ground(eye, np.maximum(arteries, veins), reach=wide_eye.REACH, unit=wide_eye.UNIT)
    laid = Laid(wide_eye.paint_wide_retina(eye, generator(seed, "retina")))
    lay(laid, case.plan, ground, seed=seed, beneath=True)
    laid.image = wide_eye.paint_wide_vessels(laid.image, arteries=arteries, veins=veins)
    plan = dict(case.plan)
    if "detached_retina" in laid.masks:
        folds = patches.folds(ground, generator(seed, "folds")) * laid.coverage["detached_retina"]
        laid.image = np.asarray(laid.image * (1 + 0.34 * folds)[..., None], dtype=np.float32)
        if case.torn:
            plan["retinal_break"] = partial(patches.break_in, within=laid.masks["detached_retina"])
    lay(laid, plan, ground, seed=seed, beneath=False)
    pixels, seen = wide_eye.scanned(laid.image, eye, generator(seed, "camera"))
    own = {"arteriolar_narrowing": arteries * 2 > MASK_FROM, "venous_tortuosity": veins > MASK_FROM}
    masks = {name: own[name] & seen for name in case.anatomy} | {name: mask & seen for name, mask in laid.masks.items()}
    # A lid may hide some of the lesions that were drawn.
    counts = {name: count for name, count in laid.counts.items() if not (laid.masks[name] & ~seen).any()}
    drawn = _middle_rows(described(case, eye, pixels=pixels, masks=masks, counts=counts, modality=Modality.UWF))
    return mirrored(drawn) if generator(seed, "wide, side").random() < 0.5 else drawn


def _middle_rows(drawn: Drawn) -> Drawn:
    """The picture without the rows above and below its field."""
    side = drawn.pixels.shape[0]
    top = round(side * (1 - wide_eye.HEIGHT) / 2)
    rows = slice(top, side - top)

    def up(point: Point | None) -> Point | None:
        return None if point is None else (point[0], point[1] - top)

    return replace(
        drawn,
        pixels=np.ascontiguousarray(drawn.pixels[rows]),
        masks={name: np.ascontiguousarray(mask[rows]) for name, mask in drawn.masks.items()},
        disc=up(drawn.disc),
        fovea=up(drawn.fovea),
    )
