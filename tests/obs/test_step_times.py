from __future__ import annotations

import math

import pytest

from fundus_ray.obs.step_times import async_ceiling, mean_busy, step_times, union_length
from fundus_ray.obs.trace import Span


def generate(start: float, end: float, worker: str = "r0") -> Span:
    return Span("generate", start, end, {"worker": worker})


def test_a_union_counts_overlap_once() -> None:
    assert union_length([(5, 6), (0, 3), (2, 4), (1, 2)]) == 4 + 1
    assert union_length([]) == 0


def test_busy_time_is_the_mean_over_workers_of_their_unions() -> None:
    spans = [generate(0, 4), generate(2, 6), generate(0, 2, "r1")]
    assert mean_busy(spans, workers=2) == (6 + 2) / 2
    # a third worker did nothing
    assert mean_busy(spans, workers=3) == pytest.approx(8 / 3)


def test_a_span_without_worker_counts_for_every_worker() -> None:
    spans = [generate(0, 2), Span("generate", 1, 3)]
    # r0: [0, 3], the other one: [1, 3]
    assert mean_busy(spans, workers=2) == (3 + 2) / 2


def test_more_workers_in_the_spans_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"2 workers \(r0, r1\), more than the 1"):
        mean_busy([generate(0, 1), generate(0, 1, "r1")], workers=1)


def test_one_step_by_hand() -> None:
    spans = [
        generate(98, 103),  # cut to [100, 103]
        generate(102, 104),
        generate(107, 112),  # cut to [107, 110]: still open at the end
        Span("score", 103, 104),
        Span("score", 103.5, 104.5),
        Span("wait_group", 100, 104),
        Span("update", 105, 108),
        Span("publish", 108, 108.5),
        Span("deliver", 108.5, 109.5, {"worker": "r0"}),
        Span("deliver", 109, 110, {"worker": "r1"}),
        Span("update", 90, 99),  # an earlier step's
    ]
    times = step_times(spans, start_s=100, end_s=110)
    assert times.window_s == 10
    assert times.wait_group_s == 4
    assert times.learner_idle == pytest.approx(0.4)
    assert times.generate_s == 4 + 3
    assert times.generator_idle == pytest.approx(0.3)  # [104, 107]
    assert times.score_s == 1.5
    assert times.update_s == 3
    assert times.publish_s == 0.5
    assert times.deliver_s == 1.5
    # (7 + 1.5 + 3 + 2) / max(7, 1.5, 3 + 2)
    assert times.ceiling == pytest.approx(13.5 / 7)
    assert times.metrics()["async/ceiling"] == times.ceiling


def test_generator_idle_is_of_all_workers_time() -> None:
    times = step_times([generate(0, 10), generate(0, 5, "r1")], start_s=0, end_s=10, rollout_workers=2)
    assert times.generator_idle == pytest.approx(0.25)


def test_workers_that_join_and_leave_count_for_the_time_in_which_they_are_here() -> None:
    def here(start: float, end: float, worker: str, role: str = "engine") -> Span:
        return Span("here", start, end, {"worker": worker, "role": role})

    spans = [
        here(0, 20, "r0"),  # all 10 s of the window
        here(6, 20, "r1"),  # 4 s: it joined
        here(-5, 2, "r2"),  # 2 s: it left
        here(0, 20, "s0", "reward"),
        generate(0, 10),
        generate(8, 10, "r1"),
        generate(0, 2, "r2"),
    ]
    times = step_times(spans, start_s=0, end_s=10, rollout_workers=9)
    assert times.rollout_here == pytest.approx((10 + 4 + 2) / 10)
    assert times.reward_here == 1
    assert times.generator_idle == pytest.approx(1 - (10 + 2 + 2) / (10 + 4 + 2))
    assert times.metrics()["workers/rollout"] == times.rollout_here


def test_a_call_that_ends_in_the_window_after_that_in_which_its_worker_left_is_no_error() -> None:
    here = [
        Span("here", 0, 20, {"worker": "r0", "role": "engine"}),
        Span("here", 0, 9.9, {"worker": "r1", "role": "engine"}),
    ]
    times = step_times([*here, generate(10, 20), generate(5, 10.01, "r1")], start_s=10, end_s=20, rollout_workers=2)
    assert times.rollout_here == 1
    assert times.generate_s == pytest.approx(10.01)
    assert times.generator_idle == 0


def test_the_ceiling_is_three_for_three_equal_stages_and_one_for_a_single_one() -> None:
    assert async_ceiling(generate_s=2, score_s=2, update_s=1.5, sync_s=0.5) == 3
    assert async_ceiling(generate_s=2, score_s=0, update_s=0, sync_s=0) == 1
    assert math.isnan(async_ceiling(generate_s=0, score_s=0, update_s=0, sync_s=0))


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        step_times([], start_s=5, end_s=5)
