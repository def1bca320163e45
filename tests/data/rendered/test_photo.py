"""Views of the photograph: labels that geometry makes true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fundus_ray.data.images import read_pixels
from fundus_ray.data.rendered.phantoms import DISEASES
from fundus_ray.data.rendered.photo import FINDING_OF, draw_view, photo_samples, photograph, render_view

SEEDS = range(60)


def of(answer: str) -> list[int]:
    return [seed for seed in SEEDS if draw_view(seed).answer == answer]


def palest(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """(x, y) of the centre of the optic disc, the place where green is strongest, in shares of the side."""
    green = pixels[..., 1].astype(float)
    green[green < np.quantile(green, 0.985)] = 0
    side = green.shape[0]
    x = (green.sum(axis=0) * (np.arange(side) + 0.5)).sum() / green.sum() / side
    y = (green.sum(axis=1) * (np.arange(side) + 0.5)).sum() / green.sum() / side
    return x, y


@pytest.mark.parametrize(("answer", "on_left"), [("left eye", True), ("right eye", False)])
def test_the_optic_disc_is_on_the_side_that_the_laterality_says(answer: str, on_left: bool) -> None:
    assert of(answer)
    for seed in of(answer):
        x, _ = palest(render_view(seed, image_px=112))
        assert (x < 0.35) if on_left else (x > 0.65), seed


def test_a_disc_view_has_the_disc_in_its_centre() -> None:
    assert of("optic disc")
    for seed in of("optic disc"):
        x, y = palest(render_view(seed, image_px=112))
        assert abs(x - 0.5) < 0.17, seed
        assert abs(y - 0.5) < 0.17, seed


def test_a_macula_view_is_darkest_in_its_centre() -> None:
    assert of("macula")
    for seed in of("macula"):
        green = render_view(seed, image_px=112)[..., 1].astype(float)
        centre, corners = green[40:72, 40:72].mean(), np.mean([green[:28, :28], green[:28, -28:], green[-28:, :28]])
        assert centre < corners, seed


def test_an_arcade_view_has_a_vessel_in_its_centre() -> None:
    assert of("vascular arcade")
    for seed in of("vascular arcade"):
        red_free = render_view(seed, image_px=112)[..., 1].astype(float)
        # A vessel is a dark line: the darkest of the central pixels lies clearly below their middle.
        centre = red_free[36:76, 36:76]
        assert np.quantile(centre, 0.04) < 0.86 * np.median(centre), seed


def test_a_view_is_the_same_each_time_and_each_seed_has_its_own() -> None:
    assert np.array_equal(render_view(3, image_px=56), render_view(3, image_px=56))
    assert not np.array_equal(render_view(3, image_px=56), render_view(4, image_px=56))


def test_both_tasks_and_all_answers_occur(tmp_path: Path) -> None:
    samples = photo_samples(tmp_path, image_px=56, seed=0, sizes={"train": 40, "eval": 10})
    assert {sample.answer[0] for sample in samples} == set(FINDING_OF)
    assert {sample.task for sample in samples} == {"laterality", "structure"}
    for sample in samples:
        assert sample.answer[0] in sample.options
        assert sample.findings == (FINDING_OF[sample.answer[0]],)


def test_halves_share_no_view(tmp_path: Path) -> None:
    samples = photo_samples(tmp_path, image_px=56, seed=0, sizes={"train": 20, "eval": 20})
    train, held_out = ({s.image.sha256 for s in samples if s.split == split} for split in ("train", "eval"))
    assert len(train) == len(held_out) == 20
    assert not train & held_out


def test_the_photograph_itself_is_a_left_eye_with_the_diagnosis_question(tmp_path: Path) -> None:
    sample = photograph(tmp_path, image_px=112, task="diagnosis")
    assert (sample.answer, sample.source, sample.findings) == (("normal",), "skimage-retina", None)
    assert set(sample.options) == set(DISEASES)
    pixels = np.asarray(read_pixels(sample.image))
    assert pixels.shape == (112, 112, 3)
    assert palest(pixels)[0] < 0.35


def test_the_photograph_may_be_asked_for_its_side(tmp_path: Path) -> None:
    sample = photograph(tmp_path, image_px=56, task="laterality")
    assert (sample.answer, set(sample.options), sample.task) == (("left eye",), {"left eye", "right eye"}, "laterality")
