"""Colour fundus photographs with graded disease: the phantoms of the benchmark's tasks.

In: a seed and a side in pixels. Out: `Drawn`, the same for the same seed and side. The quickstart's own phantoms
(phantoms.py) have no grade and stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered import eye as anatomy
from fundus_ray.data.rendered import patches
from fundus_ray.data.rendered.cases import Case, draw_photograph_case
from fundus_ray.data.rendered.drawn import Drawn, mirrored
from fundus_ray.data.rendered.eye import Eye, Floats
from fundus_ray.data.rendered.ground import Ground, pixel_of
from fundus_ray.data.rendered.laying import MASK_FROM, Laid, generator, lay
from fundus_ray.types import Modality

SEEN_THROUGH = (0.86, 0.45, 0.28)  # choroidal vessels in an atrophic patch


def draw_cfp(seed: int, *, image_px: int) -> Drawn:
    """The photograph of `seed`, `image_px` wide and high."""
    return paint_case(draw_photograph_case(generator(seed, "photograph")), seed, image_px=image_px)


def paint_case(case: Case, seed: int, *, image_px: int) -> Drawn:
    """The eye of `seed` with the findings of `case`."""
    eye = anatomy.draw_eye(generator(seed, "eye"), image_px=image_px, sector=case.sector, **case.anatomy)
    arteries, veins = anatomy.draw_vessels(eye, generator(seed, "vessels"))
    ground = Ground(eye, np.maximum(arteries, veins))
    laid = Laid(anatomy.paint_retina(eye, generator(seed, "retina")))
    lay(laid, case.plan, ground, seed=seed, beneath=True)
    if "geographic_atrophy" in laid.masks:
        through = patches.choroid_seen_through(ground, generator(seed, "choroid")) * 0.7
        laid.image = anatomy.blend(laid.image, through * laid.coverage["geographic_atrophy"], colour=SEEN_THROUGH)
    laid.image = anatomy.paint_vessels(laid.image, eye, arteries=arteries, veins=veins)
    lay(laid, case.plan, ground, seed=seed, beneath=False)
    pixels = anatomy.photograph(laid.image, eye, generator(seed, "camera"))
    field = anatomy.field_of_view(image_px)
    own = {name: mask & field for name, mask in _of_the_eye(eye, case, arteries=arteries, veins=veins).items()}
    masks = own | {name: mask & field for name, mask in laid.masks.items()}
    drawn = described(case, eye, pixels=pixels, masks=masks, counts=laid.counts, modality=Modality.CFP)
    return mirrored(drawn) if generator(seed, "side").random() < 0.5 else drawn


def _of_the_eye(eye: Eye, case: Case, *, arteries: Floats, veins: Floats) -> dict[str, NDArray[np.bool_]]:
    """Masks of the findings that change the eye rather than lie on it."""
    coverage = {
        "enlarged_cup": anatomy.disc_coverage(eye, ratio=eye.cup_ratio, edge=anatomy.PX),
        "arteriolar_narrowing": arteries * 2,  # narrow arteries cover less than a pixel
        "venous_tortuosity": veins,
    }
    return {name: coverage[name] > MASK_FROM for name in case.anatomy}


def described(
    case: Case,
    eye: Eye,
    *,
    pixels: NDArray[np.uint8],
    masks: dict[str, NDArray[np.bool_]],
    counts: dict[str, int],
    modality: Modality,
) -> Drawn:
    """The picture of a right eye with the labels that follow from its case, and the masks of summed findings."""
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    counts = dict(counts)
    for name, parts in case.also.items():
        there = [part for part in parts if part in masks]
        if there:
            masks[name] = np.logical_or.reduce([masks[part] for part in there])
            if all(part in counts for part in there):
                counts[name] = sum(counts[part] for part in there)
    return Drawn(
        modality=modality,
        title=case.title,
        pixels=pixels,
        diagnoses=case.diagnoses,
        masks=masks,
        counts=counts,
        eye="R",
        disc=pixel_of(eye, eye.disc),
        fovea=pixel_of(eye, eye.fovea),
        disc_area_px=float((anatomy.disc_coverage(eye, ratio=1, edge=anatomy.PX) > 0.5).sum()),
        dr_grade=case.dr_grade,
        amd_stage=case.amd_stage,
    )
