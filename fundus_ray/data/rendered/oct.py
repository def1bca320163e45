"""OCT B-scans through the macula with known disease.

In: a seed and a width in pixels. Out: `Drawn`; the height is three quarters of the width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered import layers, scan
from fundus_ray.data.rendered.drawn import Drawn, mirrored
from fundus_ray.data.rendered.layers import Floats
from fundus_ray.data.rendered.laying import generator
from fundus_ray.data.rendered.oct_signs import AMD, CSC, DME, HOLE, MEMBRANE, PAINTED, SHAPING, Case, Parts
from fundus_ray.types import Modality

STAGES = ("early", "intermediate", "late")
TOP = 0.06  # the least that is left above the retina, as a share of the height
FEWEST_PX = 4  # a mask of fewer pixels is not seen, and is left out


def draw_case(rng: np.random.Generator) -> Case:
    """A disease with its signs: how often each occurs is our own choice, after the textbook's order."""

    def often(**chances: float) -> frozenset[str]:
        return frozenset(name for name, chance in chances.items() if rng.random() < chance)

    kind = rng.choice(6, p=(0.2, 0.36, 0.17, 0.11, 0.08, 0.08))
    if kind == 0:
        return Case("normal", (), frozenset(), amd_stage="none")
    if kind == 1:
        stage = STAGES[rng.choice(3, p=(0.28, 0.28, 0.44))]
        drusen = frozenset({"drusen"})
        if stage == "late" and rng.random() < 0.3:
            signs = drusen | {"geographic_atrophy"}
        elif stage == "late":
            signs = often(pigment_epithelial_detachment=0.8, subretinal_fluid=0.6, intraretinal_fluid=0.4, drusen=0.4)
            signs |= {"subretinal_hyperreflective_material"}
        else:
            signs = drusen | often(hyperreflective_foci=0.4 * (stage == "intermediate"))
        return Case(f"{AMD}, {stage}", (AMD,), signs, amd_stage=stage)
    if kind == 2:
        return Case(DME, (DME,), often(subretinal_fluid=0.35, hyperreflective_foci=0.7) | {"intraretinal_fluid"})
    if kind == 3:
        signs = often(pigment_epithelial_detachment=0.45) | {"subretinal_fluid", "thick_choroid"}
        return Case(CSC, (CSC,), signs)
    if kind == 4:
        return Case(HOLE, (HOLE,), often(fluid_cuff=0.6) | {"full_thickness_hole"})
    return Case(MEMBRANE, (MEMBRANE,), often(intraretinal_fluid=0.25) | {"epiretinal_membrane"})


def draw_oct(seed: int, *, image_px: int) -> Drawn:
    """The B-scan of `seed`, `image_px` wide."""
    return paint_case(draw_case(generator(seed, "scan")), seed, image_px=image_px)


def paint_case(case: Case, seed: int, *, image_px: int) -> Drawn:
    """The scan of `seed` with the signs of `case`."""
    parts, rows = layout(case, seed, image_px=image_px)
    frame = parts.frame
    image = scan.paint_layers(
        frame,
        rows,
        generator(seed, "brightness"),
        under_epithelium=parts.under_epithelium,
        transmission=parts.transmission,
    )
    image = scan.shadows(image, frame, rows, generator(seed, "vessels"))
    image = scan.hyaloid(image, frame, rows, generator(seed, "hyaloid"))
    masks: dict[str, NDArray[np.bool_]] = {}
    for sign, paint in PAINTED.items():
        if sign in case.signs:
            image, masks[sign] = paint(parts, rows, image, generator(seed, f"{sign}, painted"))
    masks = _between_surfaces(case, parts, rows, masks) | masks
    drawn = Drawn(
        modality=Modality.OCT,
        title=case.title,
        pixels=scan.speckled(image, generator(seed, "speckle")),
        diagnoses=case.diagnoses,
        masks={name: mask for name, mask in masks.items() if mask.sum() >= FEWEST_PX},
        eye="R",
        amd_stage=case.amd_stage,
    )
    return mirrored(drawn) if generator(seed, "scan, side").random() < 0.5 else drawn


def layout(case: Case, seed: int, *, image_px: int) -> tuple[Parts, dict[str, Floats]]:
    """The scan before it is painted, and the row [W] of each of its surfaces."""
    frame = layers.draw_frame(generator(seed, "frame"), width=image_px, thick_choroid="thick_choroid" in case.signs)
    parts = Parts(frame, layers.undisturbed(frame), material=np.zeros(frame.width))
    for sign in SHAPING:
        if sign in case.signs:
            SHAPING[sign](parts, generator(seed, sign), case)
    rows = layers.surfaces(frame, parts.shape)
    lack = TOP * frame.height - rows["nerve_fibres"].min()
    if lack > 0:  # who takes the scan moves it until all of the retina is in it
        parts.frame = replace(frame, bruch=frame.bruch + lack)
        rows = layers.surfaces(parts.frame, parts.shape)
    return parts, rows


def _between_surfaces(
    case: Case, parts: Parts, rows: Mapping[str, Floats], painted: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.bool_]]:
    """Masks of what lies between two surfaces and is not `painted` over, and of what a healthy scan shows."""
    frame = parts.frame
    y = np.arange(frame.height)[:, None]
    gap = (y >= rows["retina_base"]) & (y < rows["pigment_epithelium"])
    gap = np.logical_and.reduce([gap, *(~mask for mask in painted.values())])
    below = (y >= rows["epithelium_base"]) & (y < frame.bruch)
    retina = (y >= rows["nerve_fibres"]) & (y < rows["retina_base"])
    choroid = (y >= frame.bruch) & (y < frame.bruch + frame.choroid * frame.height)
    near = np.abs(frame.s - frame.fovea) < 0.13
    masks: dict[str, NDArray[np.bool_]] = {}
    if not case.diagnoses:
        masks |= {"normal_foveal_contour": retina & near, "regular_layers": retina}
    if "subretinal_fluid" in case.signs:
        masks["subretinal_fluid"] = gap
    if "fluid_cuff" in case.signs:
        masks["fluid_cuff"] = gap
    if "drusen" in case.signs and "pigment_epithelial_detachment" not in case.signs:
        masks["drusen"] = below
        masks["medium_drusen" if case.amd_stage == "early" else "large_drusen"] = below
    if "pigment_epithelial_detachment" in case.signs:
        masks["pigment_epithelial_detachment"] = below
    if "intraretinal_fluid" in case.signs:
        masks["macular_thickening"] = retina & (parts.shape.swelling > 0.5 * parts.shape.swelling.max())
    if "thick_choroid" in case.signs:
        masks["thick_choroid"] = choroid
    if "geographic_atrophy" in case.signs:
        gone = parts.shape.outer_loss > 0.5
        masks["geographic_atrophy"] = gone & (y >= rows["outer_nuclear"]) & (y < frame.bruch)
        masks["choroidal_hypertransmission"] = gone & choroid
    return masks
