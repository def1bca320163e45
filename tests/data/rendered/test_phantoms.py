"""Phantoms: reproducible, and their finding maps are where the picture really changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from fundus_ray.data.rendered.phantoms import (
    DISEASES,
    FINDING_RATES,
    FINDINGS,
    draw_case,
    paint,
    phantom_samples,
    render,
)

SIZES = {"train": 6, "eval": 4}
# Mean change of the strongest colour channel inside a finding's map, out of 255: below 8 one could not see it.
VISIBLE = 8


def usual_disease(finding: str) -> str:
    return max(DISEASES, key=lambda disease: FINDING_RATES[disease].get(finding, 0.0))


def test_a_seed_gives_the_same_phantom_twice_and_another_seed_another() -> None:
    first, again, other = render(7, image_px=112), render(7, image_px=112), render(8, image_px=112)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.findings == again.findings
    assert all(np.array_equal(first.masks[name], again.masks[name]) for name in first.findings)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("image_px", [56, 112, 168])
def test_pixels_and_maps_have_the_asked_size(image_px: int) -> None:
    phantom = render(3, image_px=image_px)
    assert phantom.pixels.shape == (image_px, image_px, 3)
    assert phantom.pixels.dtype == np.uint8
    assert {mask.shape for mask in phantom.masks.values()} <= {(image_px, image_px)}


def test_every_listed_finding_has_a_map_inside_the_round_field_of_view() -> None:
    line = (np.arange(112) + 0.5) - 56
    field = line[:, None] ** 2 + line**2 < (56 * 0.97) ** 2
    seen = set()
    for seed in range(60):
        phantom = render(seed, image_px=112)
        assert tuple(phantom.masks) == phantom.findings
        for name, mask in phantom.masks.items():
            assert mask.any(), (seed, name)
            assert not (mask & ~field).any(), (seed, name)
        seen |= set(phantom.findings)
    assert seen == set(FINDINGS)


def test_outside_the_field_of_view_the_picture_is_black() -> None:
    pixels = render(5, image_px=112).pixels
    corners = [pixels[:8, :8], pixels[:8, -8:], pixels[-8:, :8], pixels[-8:, -8:]]
    assert max(int(corner.max()) for corner in corners) < 12


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_changes_the_picture_inside_its_map_and_nowhere_far_from_it(finding: str) -> None:
    disease = usual_disease(finding)
    for seed in range(8):
        ill = paint(seed, image_px=112, disease=disease, findings=(finding,))
        healthy = paint(seed, image_px=112, disease=disease, findings=())
        change = np.abs(ill.pixels.astype(int) - healthy.pixels).max(axis=-1)
        mask = ill.masks[finding]
        assert change[mask].mean() > VISIBLE, seed
        assert change[~binary_dilation(mask, iterations=6)].mean() < 0.1, seed


@pytest.mark.parametrize(
    ("finding", "darker"),
    [("microaneurysm", True), ("flame_haemorrhage", True), ("drusen", False), ("hard_exudate", False)],
)
def test_bleeding_darkens_and_deposits_brighten(finding: str, darker: bool) -> None:
    disease = usual_disease(finding)
    ill = paint(11, image_px=112, disease=disease, findings=(finding,))
    healthy = paint(11, image_px=112, disease=disease, findings=())
    green = ill.pixels[..., 1].astype(int) - healthy.pixels[..., 1]
    assert (green[ill.masks[finding]].mean() < 0) == darker


def test_an_enlarged_cup_is_far_wider_than_a_healthy_one() -> None:
    for seed in range(8):
        ill = paint(seed, image_px=112, disease="glaucoma", findings=("enlarged_cup",))
        # The disc's radius is 0.155 to 0.18 of the field's 54 px, a cup of 0.7 of it covers 0.49 of its area.
        assert 0.49 * np.pi * (0.155 * 54) ** 2 * 0.85 < ill.masks["enlarged_cup"].sum()


def test_laterality_says_on_which_side_the_optic_disc_is() -> None:
    seen = set()
    for seed in range(12):
        # The pale disc is the bluest place of an eye without lesions.
        phantom = paint(seed, image_px=112, disease="glaucoma", findings=("enlarged_cup",))
        blue = phantom.pixels[..., 2].astype(float)
        blue[blue < np.quantile(blue, 0.99)] = 0
        x = (blue.sum(axis=0) * np.arange(112)).sum() / blue.sum()
        assert phantom.laterality == ("right" if x > 56 else "left"), seed
        seen.add(phantom.laterality)
    assert seen == {"right", "left"}


def test_vein_occlusion_bleeds_in_one_half_only() -> None:
    for seed in range(12):
        phantom = paint(
            seed, image_px=112, disease="retinal vein occlusion", findings=("flame_haemorrhage", "dot_blot_haemorrhage")
        )
        rows = np.where(phantom.masks["flame_haemorrhage"].any(axis=1))[0]
        assert rows.max() < 66 or rows.min() > 46, seed


def test_diseases_are_drawn_uniformly_and_findings_at_their_rates() -> None:
    cases = [draw_case(seed) for seed in range(6000)]
    count = Counter(disease for disease, _ in cases)
    # 1000 expected each, standard deviation 29: five of them.
    assert set(count) == set(DISEASES)
    assert max(abs(n - 1000) for n in count.values()) < 145
    for disease, rates in FINDING_RATES.items():
        for finding in FINDINGS:
            share = np.mean([finding in found for drawn, found in cases if drawn == disease])
            assert abs(share - rates.get(finding, 0.0)) < 0.08, (disease, finding)


def test_no_finding_but_the_hallmarks_belongs_to_one_disease() -> None:
    owners = {name: [d for d in DISEASES if name in FINDING_RATES[d]] for name in FINDINGS}
    alone = {name for name, diseases in owners.items() if len(diseases) == 1}
    assert alone == {"microaneurysm", "enlarged_cup", "arteriolar_narrowing", "venous_tortuosity"}


def test_samples_carry_what_their_seed_renders(tmp_path: Path) -> None:
    samples = phantom_samples(tmp_path, image_px=56, seed=2, sizes=SIZES)
    assert [sample.split for sample in samples] == ["train"] * 6 + ["eval"] * 4
    for sample in samples:
        phantom = render(int(sample.id.split("-")[1]), image_px=56)
        assert sample.answer == (phantom.disease,)
        assert sample.findings == phantom.findings
        assert sorted(sample.options) == sorted(DISEASES)
        assert (sample.image.width_px, sample.image.height_px) == (56, 56)


def test_options_are_shuffled_from_sample_to_sample(tmp_path: Path) -> None:
    samples = phantom_samples(tmp_path, image_px=56, seed=0, sizes={"train": 12, "eval": 1})
    assert len({sample.options for sample in samples}) > 6
