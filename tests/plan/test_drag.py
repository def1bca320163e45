from __future__ import annotations

import pytest

from fundus_ray.config import load
from fundus_ray.plan.drag import DRAGS, LEAST_ERROR, SPREAD, USUAL_DRAG, doubtful, usual_drag


def test_a_drag_is_expected_where_both_halves_compute_on_the_cpus_of_one_machine() -> None:
    assert usual_drag(load(None, ["rollout.gpus=0", "learner.gpus=0"])) == USUAL_DRAG
    assert usual_drag(load(None, ["rollout.gpus=1", "learner.gpus=1"])) == 0.0


def test_what_can_be_expected_is_among_those_that_are_tried() -> None:
    assert {0.0, USUAL_DRAG} <= set(DRAGS)
    assert list(DRAGS) == sorted(set(DRAGS))


def test_an_error_counts_more_the_less_usual_the_drag_and_the_shorter_the_run() -> None:
    least = LEAST_ERROR * 10.0
    assert doubtful(1.0, of=10.0, drag=0.1, usual=0.1, steps=4) == pytest.approx(1.0 + least)
    # One spread away: a factor of 2 in the posterior, shared out over the steps.
    assert doubtful(1.0, of=10.0, drag=0.1 + SPREAD, usual=0.1, steps=4) == pytest.approx((1.0 + least) * 2**0.25)
    # Three spreads: 1 + 9.
    assert doubtful(0.0, of=10.0, drag=0.1 - 3 * SPREAD, usual=0.1, steps=20) == pytest.approx(least * 10**0.05)
