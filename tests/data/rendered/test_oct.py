"""OCT B-scans: labels, masks and brightness agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fundus_ray.data.rendered import oct as scans
from fundus_ray.data.rendered.layers import SHARES, draw_frame, surfaces, undisturbed
from fundus_ray.data.rendered.oct import draw_case, draw_oct, paint_case
from fundus_ray.data.rendered.oct_signs import AMD, CSC, DME, HOLE, MEMBRANE, Case
from fundus_ray.types import Modality

PX = 280


def grey(drawn: object) -> np.ndarray:
    pixels: np.ndarray = drawn.pixels  # type: ignore[attr-defined]
    return pixels[..., 0].astype(float)


def test_a_seed_gives_the_same_scan_twice_and_another_seed_another() -> None:
    first, again, other = draw_oct(4, image_px=168), draw_oct(4, image_px=168), draw_oct(5, image_px=168)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.findings == again.findings
    assert all(np.array_equal(first.masks[name], again.masks[name]) for name in first.masks)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_scan_is_grey_and_three_quarters_as_high_as_wide() -> None:
    drawn = draw_oct(1, image_px=200)
    assert drawn.modality is Modality.OCT
    assert drawn.pixels.shape == (150, 200, 3)
    assert np.array_equal(drawn.pixels[..., 0], drawn.pixels[..., 2])
    assert {mask.shape for mask in drawn.masks.values()} == {(150, 200)}


def test_the_retina_is_thinnest_at_the_fovea_and_its_inner_layers_end_there() -> None:
    for seed in range(6):
        frame = draw_frame(np.random.default_rng(seed), width=400)
        rows = surfaces(frame, undisturbed(frame))
        retina = rows["pigment_epithelium"] - rows["nerve_fibres"]
        assert abs(retina.argmin() / 400 - frame.fovea) < 0.05
        assert retina.min() < 0.75 * retina.max()
        at = round(frame.fovea * 400)
        assert rows["outer_nuclear"][at] - rows["nerve_fibres"][at] < 0.3 * retina[at]


def test_the_layers_follow_each_other_whatever_disease_does() -> None:
    order = [*[name for name in SHARES if name != "pigment_epithelium"], "retina_base", "pigment_epithelium"]
    for seed in range(30):
        case = draw_case(np.random.default_rng(seed))
        parts, rows = scans.layout(case, seed, image_px=PX)
        frame = parts.frame
        for upper, lower in zip(order, [*order[1:], "epithelium_base"], strict=True):
            assert (rows[lower] - rows[upper]).min() > -1e-6, (seed, upper)
        assert (frame.bruch - rows["epithelium_base"]).min() > -1e-6
        assert rows["nerve_fibres"].min() > 0.02 * frame.height, (seed, case)


def test_nerve_fibres_are_thicker_on_the_side_of_the_disc() -> None:
    for seed in range(6):
        frame = draw_frame(np.random.default_rng(seed), width=400)
        rows = surfaces(frame, undisturbed(frame))
        fibres = rows["ganglion_cells"] - rows["nerve_fibres"]
        assert fibres[-40:].mean() > 1.5 * fibres[:40].mean()


@pytest.mark.parametrize(
    ("finding", "diagnosis"),
    [
        ("subretinal_fluid", CSC),
        ("intraretinal_fluid", DME),
        ("pigment_epithelial_detachment", AMD),
        ("full_thickness_hole", HOLE),
    ],
)
def test_fluid_and_holes_are_darker_than_the_retina_and_each_has_its_mask(finding: str, diagnosis: str) -> None:
    for seed in range(4):
        drawn = paint_case(Case("", (diagnosis,), frozenset({finding})), seed, image_px=PX)
        mask = drawn.masks[finding]
        inner = ndimage.binary_erosion(mask)
        # The retina around: what lies above, as far as the mask is high.
        above = np.roll(mask, -round(0.04 * PX), axis=0) & ~mask
        assert grey(drawn)[inner].mean() < 0.85 * grey(drawn)[above | np.roll(mask, 12, axis=1) & ~mask].mean(), seed


@pytest.mark.parametrize(
    "finding", ["epiretinal_membrane", "hyperreflective_foci", "subretinal_hyperreflective_material"]
)
def test_membranes_foci_and_material_are_bright(finding: str) -> None:
    for seed in range(4):
        drawn = paint_case(Case("", (AMD,), frozenset({finding})), seed, image_px=PX)
        assert grey(drawn)[drawn.masks[finding]].mean() > 110, seed


def test_a_finding_that_is_not_drawn_has_no_mask() -> None:
    for seed in range(20):
        drawn = draw_oct(seed, image_px=168)
        assert all(mask.sum() >= 4 for mask in drawn.masks.values())
        if not drawn.diagnoses:
            assert set(drawn.findings) == {"normal_foveal_contour", "regular_layers"}
            assert drawn.amd_stage == "none"


def test_fluid_lies_between_retina_and_pigment_epithelium_and_cysts_apart_in_the_retina() -> None:
    case = Case("", (DME,), frozenset({"subretinal_fluid", "intraretinal_fluid"}))
    for seed in range(4):
        drawn = paint_case(case, seed, image_px=PX)
        fluid, cysts = drawn.masks["subretinal_fluid"], drawn.masks["intraretinal_fluid"]
        assert not (fluid & cysts).any()
        both = fluid.any(axis=0) & cysts.any(axis=0)
        rows = np.arange(len(fluid))[:, None]
        lowest_cyst = np.where(cysts, rows, -1).max(axis=0)
        highest_fluid = np.where(fluid, rows, 10_000).min(axis=0)
        assert (lowest_cyst < highest_fluid)[both].all()


@pytest.mark.parametrize(
    ("stage", "finding", "least"), [("early", "medium_drusen", 2), ("intermediate", "large_drusen", 2)]
)
def test_drusen_are_bumps_under_the_pigment_epithelium(stage: str, finding: str, least: int) -> None:
    widths = []
    for seed in range(6):
        drawn = paint_case(Case("", (AMD,), frozenset({"drusen"}), stage), seed, image_px=PX)
        labels, number = ndimage.label(drawn.masks[finding])
        assert number >= least, seed
        widths += [columns.stop - columns.start for _, columns in ndimage.find_objects(labels)]
    # Half widths of 0.011 to 0.016 and of 0.024 to 0.045 of the width; large ones may run together.
    assert (np.median(widths) < 0.033 * PX) == (stage == "early")


def test_atrophy_lets_more_light_into_the_choroid() -> None:
    brighter = []
    for seed in range(6):
        drawn = paint_case(Case("", (AMD,), frozenset({"geographic_atrophy"}), "late"), seed, image_px=PX)
        healthy = paint_case(Case("", (), frozenset()), seed, image_px=PX)
        mask = drawn.masks["choroidal_hypertransmission"]
        brighter.append(grey(drawn)[mask].mean() / grey(healthy)[mask].mean())
    assert min(brighter) > 1.2


def test_the_hole_parts_the_retina_from_its_surface_to_the_pigment_epithelium() -> None:
    drawn = paint_case(Case("", (HOLE,), frozenset({"full_thickness_hole"})), 1, image_px=PX)
    rows, columns = np.nonzero(drawn.masks["full_thickness_hole"])
    middle = round(columns.mean())
    depth = drawn.masks["full_thickness_hole"][:, middle].sum()
    assert depth > 0.1 * len(drawn.pixels)
    assert depth == np.ptp(rows[columns == middle]) + 1


def test_every_condition_and_stage_comes_up() -> None:
    drawn = [draw_case(np.random.default_rng(seed)) for seed in range(150)]
    assert {case.diagnoses for case in drawn} == {(), (AMD,), (DME,), (CSC,), (HOLE,), (MEMBRANE,)}
    assert {case.amd_stage for case in drawn} == {None, "none", "early", "intermediate", "late"}
