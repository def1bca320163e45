"""Graded photographs, usual and ultra-wide, and lesions on the real one: labels, masks and pixels agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fundus_ray.data.rendered import cases, cfp, marks, patches, photo_lesions, uwf
from fundus_ray.data.rendered.cases import Case
from fundus_ray.data.rendered.cfp import draw_cfp
from fundus_ray.data.rendered.drawn import Drawn, mirrored
from fundus_ray.data.rendered.eye import draw_eye
from fundus_ray.data.rendered.laying import LOOKS, generator
from fundus_ray.data.rendered.marks import Paint
from fundus_ray.data.rendered.photo_lesions import draw_on_photo
from fundus_ray.data.rendered.uwf import draw_uwf
from fundus_ray.types import Modality

Draw = Callable[..., Drawn]
FLAT = pytest.mark.parametrize("draw", [draw_cfp, draw_uwf, draw_on_photo])
PAINT = pytest.mark.parametrize("paint", [cfp.paint_case, uwf.paint_case, photo_lesions.paint_case])
PX = 280
PROLIFERATIVE = {"neovascularisation", "preretinal_haemorrhage", "vitreous_haemorrhage", "fibrous_proliferation"}
COUNTED = {"microaneurysm", "dot_blot_haemorrhage", "flame_haemorrhage", "cotton_wool_spot", "bone_spicules"}


def parts_of(mask: NDArray[np.bool_]) -> int:
    return int(ndimage.label(mask, structure=np.ones((3, 3)))[1])


def diabetic(seed: int, *, grade: int) -> Case:
    return cases.diabetic(np.random.default_rng(seed), grade=grade)


@FLAT
def test_a_seed_gives_the_same_picture_and_labels_twice_and_another_seed_others(draw: Draw) -> None:
    first, again, other = draw(4, image_px=168), draw(4, image_px=168), draw(5, image_px=168)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.findings == again.findings
    assert all(np.array_equal(first.masks[name], again.masks[name]) for name in first.masks)
    assert (first.eye, first.disc, first.counts) == (again.eye, again.disc, again.counts)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize(
    ("draw", "modality", "height"), [(draw_cfp, "CFP", 200), (draw_on_photo, "CFP", 200), (draw_uwf, "UWF", 160)]
)
def test_picture_and_masks_have_the_size_of_their_modality(draw: Draw, modality: str, height: int) -> None:
    drawn = draw(1, image_px=200)
    assert drawn.modality is Modality(modality)
    assert drawn.pixels.shape == (height, 200, 3)
    assert drawn.pixels.dtype == np.uint8
    assert {mask.shape for mask in drawn.masks.values()} <= {(height, 200)}


@FLAT
def test_as_many_lesions_are_in_a_mask_as_were_drawn(draw: Draw) -> None:
    seen: set[str] = set()
    for seed in range(24):
        drawn = draw(seed, image_px=PX)
        assert set(drawn.counts) <= set(drawn.masks)
        for finding, count in drawn.counts.items():
            assert parts_of(drawn.masks[finding]) == count, (seed, finding)
            seen.add(finding)
    assert {"microaneurysm", "dot_blot_haemorrhage", "retinal_haemorrhage", "cotton_wool_spot"} <= seen


@FLAT
def test_the_disc_is_right_of_the_fovea_in_right_eyes_and_only_there(draw: Draw) -> None:
    sides = set()
    for seed in range(12):
        drawn = draw(seed, image_px=112)
        assert drawn.disc is not None
        assert drawn.fovea is not None
        assert (drawn.disc[0] > drawn.fovea[0]) == (drawn.eye == "R"), seed
        sides.add(drawn.eye)
    assert sides == {"L", "R"}


@PAINT
def test_the_palest_place_of_a_healthy_eye_is_where_its_disc_is_said_to_be(paint: Callable[..., Drawn]) -> None:
    for seed in range(6):
        drawn = paint(Case("normal", ()), seed, image_px=PX)
        assert drawn.disc is not None
        height, width = drawn.pixels.shape[:2]
        green = ndimage.gaussian_filter(drawn.pixels[..., 1].astype(float), PX / 60)
        green[round(0.72 * height) :] = green[: round(0.28 * height)] = 0  # lids are pale too
        row, column = np.unravel_index(int(green.argmax()), (height, width))
        assert np.hypot(column - drawn.disc[0], row - drawn.disc[1]) < 0.08 * PX, seed


def test_the_discs_area_is_that_of_its_ellipse() -> None:
    for seed in range(4):
        eye = draw_eye(generator(seed, "eye"), image_px=PX)
        # Half axes 0.93 r and r; a field radius is 0.97 of half the side.
        area = np.pi * 0.93 * (eye.disc_radius * 0.97 * PX / 2) ** 2
        drawn = cfp.paint_case(Case("normal", ()), seed, image_px=PX)
        assert drawn.disc_area_px == pytest.approx(area, rel=0.02)


@PAINT
@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_the_grade_of_diabetic_retinopathy_follows_from_the_findings(paint: Callable[..., Drawn], grade: int) -> None:
    for seed in range(6):
        drawn = paint(diabetic(seed, grade=grade), seed, image_px=224)
        assert drawn.dr_grade == grade
        assert "microaneurysm" in drawn.findings or "vitreous_haemorrhage" in drawn.findings
        assert bool(PROLIFERATIVE & set(drawn.findings)) == (grade == 4), seed
        assert ("severe_haemorrhages" in drawn.findings) == (grade == 3), seed
        assert (set(drawn.findings) == {"microaneurysm"}) == (grade == 1), seed


@pytest.mark.parametrize("paint", [cfp.paint_case, photo_lesions.paint_case])  # a lid hides some on a wide field
def test_severe_retinopathy_has_over_twenty_haemorrhages_in_each_quadrant(paint: Callable[..., Drawn]) -> None:
    for seed in range(8):
        drawn = paint(diabetic(seed, grade=3), seed, image_px=PX)
        assert drawn.disc is not None
        assert drawn.fovea is not None
        labels, number = ndimage.label(drawn.masks["dot_blot_haemorrhage"], structure=np.ones((3, 3)))
        centroids = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, number + 1)))[:, ::-1]
        axis = np.subtract(drawn.fovea, drawn.disc)
        middle = np.add(drawn.disc, 0.6 * axis)
        along = (centroids - middle) @ axis > 0
        below = (centroids - middle) @ np.array([-axis[1], axis[0]]) > 0
        for quadrant in ((along, below), (along, ~below), (~along, below), (~along, ~below)):
            assert (quadrant[0] & quadrant[1]).sum() > 20, seed


@pytest.mark.parametrize(
    ("stage", "one_of"),
    [
        ("early", {"medium_drusen"}),
        ("intermediate", {"large_drusen"}),
        ("late", {"geographic_atrophy", "subretinal_haemorrhage"}),
    ],
)
def test_the_stage_of_macular_degeneration_follows_from_the_findings(stage: str, one_of: set[str]) -> None:
    late = {"geographic_atrophy", "subretinal_haemorrhage"}
    for seed in range(4):
        case = cases.macular_degeneration(np.random.default_rng(seed), stage=stage)
        drawn = cfp.paint_case(case, seed, image_px=168)
        assert drawn.amd_stage == stage
        assert one_of & set(drawn.findings), seed
        assert stage == "late" or not late & set(drawn.findings)


def druse_radii(drawn: Drawn) -> list[float]:
    """Of each druse in the mask, in pixels of a 112 px picture."""
    labels, number = ndimage.label(drawn.masks["drusen"], structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(labels > 0, labels, range(1, number + 1))
    return [float(np.sqrt(area / np.pi)) * 112 / drawn.pixels.shape[1] for area in np.atleast_1d(areas)]


def test_no_druse_of_a_healthy_eye_is_as_large_as_the_smallest_of_early_degeneration() -> None:
    healthy, early = [], []
    for seed in range(300):
        case = cases.healthy(np.random.default_rng(seed))
        if "drusen" in case.plan:
            healthy.append(druse_radii(cfp.paint_case(case, seed, image_px=4 * 112)))
    for seed in range(24):
        case = cases.macular_degeneration(np.random.default_rng(seed), stage="early")
        early.append(druse_radii(cfp.paint_case(case, seed, image_px=4 * 112)))
    assert len(healthy) > 12
    assert max(max(radii) for radii in healthy) < 0.9 * min(min(radii) for radii in early)
    assert max(len(radii) for radii in healthy) <= 3 < 6 <= min(len(radii) for radii in early)


@PAINT
@pytest.mark.parametrize("finding", sorted(set(LOOKS) - {"retinal_break", "laser_scars", "detached_retina"}))
def test_a_lesion_changes_the_picture_inside_its_mask_and_nowhere_far_from_it(
    paint: Callable[..., Drawn], finding: str
) -> None:
    case = case_with(finding)
    alone = replace(case, plan={finding: case.plan[finding]}, also={}, anatomy={}, sector=0)
    for seed in range(2):
        ill, healthy = (paint(one, seed, image_px=PX) for one in (alone, replace(alone, plan={})))
        if finding not in ill.findings:
            continue
        assert not healthy.findings
        change = np.abs(ill.pixels.astype(int) - healthy.pixels).max(axis=-1)
        mask = ill.masks[finding]
        assert change[mask].mean() > 8, seed
        assert change[~ndimage.binary_dilation(mask, iterations=PX // 16)].mean() < (
            12 if "vitreous" in finding else 0.3
        )


def case_with(finding: str) -> Case:
    for seed in range(400):
        for draw in (cases.draw_photograph_case, cases.draw_wide_case):
            case = draw(np.random.default_rng(seed))
            if finding in case.plan:
                return case
    raise AssertionError(finding)


def test_a_detached_retina_reaches_the_edge_of_the_wide_field_and_its_break_lies_in_it() -> None:
    torn = 0
    for seed in range(80):
        drawn = draw_uwf(seed, image_px=PX) if "detached" in draw_title(seed) else None
        if drawn is None or "detached_retina" not in drawn.findings:
            continue
        rows, columns = np.nonzero(drawn.masks["detached_retina"])
        height, width = drawn.pixels.shape[:2]
        assert np.hypot(2 * columns / width - 1, 2 * rows / height - 1).max() > 0.8
        if "retinal_break" in drawn.findings:
            torn += 1
            inside = drawn.masks["retinal_break"] & ~drawn.masks["detached_retina"]
            assert inside.sum() < 0.1 * drawn.masks["retinal_break"].sum()
    assert torn >= 2


def draw_title(seed: int) -> str:
    return "detached" if cases.draw_wide_case(generator(seed, "wide photograph")).title == cases.DETACHMENT else ""


def test_vein_occlusion_bleeds_in_one_half_only() -> None:
    for seed in range(3):
        case = cases.vein_occlusion(np.random.default_rng(seed), severity=0.5)
        drawn = cfp.paint_case(case, seed, image_px=PX)
        assert drawn.disc is not None
        assert drawn.fovea is not None
        rows, columns = np.nonzero(drawn.masks["retinal_haemorrhage"])
        axis = np.subtract(drawn.fovea, drawn.disc) / np.hypot(*np.subtract(drawn.fovea, drawn.disc))
        beside = (columns - drawn.disc[0]) * -axis[1] + (rows - drawn.disc[1]) * axis[0]
        assert min((beside > 0).mean(), (beside < 0).mean()) < 0.05, seed


def test_a_mirrored_picture_is_the_other_eye_with_all_its_places() -> None:
    drawn = draw_cfp(2, image_px=112)
    other = mirrored(drawn)
    assert {drawn.eye, other.eye} == {"L", "R"}
    assert drawn.disc is not None
    assert other.disc is not None
    assert other.disc == (111 - drawn.disc[0], drawn.disc[1])
    assert mirrored(other).disc == pytest.approx(drawn.disc)
    assert np.array_equal(other.pixels, drawn.pixels[:, ::-1])


@FLAT
def test_every_grade_and_condition_comes_up(draw: Draw) -> None:
    case_of = {draw_cfp: cases.draw_photograph_case, draw_uwf: cases.draw_wide_case}.get(draw, cases.draw_laid_case)
    drawn = [case_of(np.random.default_rng(seed)) for seed in range(200)]
    assert {case.dr_grade for case in drawn} == {None, 0, 1, 2, 3, 4}
    stages = {"none", "early", "intermediate", "late", None} if draw is not draw_uwf else {None}
    assert {case.amd_stage for case in drawn} == stages


def test_what_blood_hides_is_not_in_the_masks_beneath() -> None:
    blood: dict[str, Paint] = {"subretinal_haemorrhage": patches.subretinal_blood}
    drusen: dict[str, Paint] = {"drusen": partial(marks.drusen, count=40, sizes=(1.5, 2.7), spread=0.06)}
    seen, partly = (cfp.paint_case(Case("", (), plan), 3, image_px=PX) for plan in (drusen, {**drusen, **blood}))
    lost = seen.masks["drusen"] & ~partly.masks["drusen"]
    assert lost.sum() > 50
    assert not (lost & ~ndimage.binary_dilation(partly.masks["subretinal_haemorrhage"], iterations=2)).any()
    assert not (
        partly.masks["drusen"] & ndimage.binary_erosion(partly.masks["subretinal_haemorrhage"], iterations=6)
    ).any()


def test_lesions_that_haze_hides_in_part_are_not_counted() -> None:
    plan: dict[str, Paint] = {
        "microaneurysm": partial(marks.microaneurysms, count=40),
        "vitreous_haemorrhage": patches.vitreous_blood,
    }
    drawn = [cfp.paint_case(Case("", (), plan), seed, image_px=168) for seed in range(4)]
    assert all("microaneurysm" not in one.counts for one in drawn if one.masks["vitreous_haemorrhage"].mean() > 0.3)
