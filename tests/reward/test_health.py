"""What a step's scores are worth, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from fundus_ray.knowledge.records import load_records
from fundus_ray.reward.health import cost_metrics, health_metrics, recited, within_groups
from fundus_ray.types import CheckedClaim, Modality, RewardStatus, ScoredGroup, ScoredRollout, ScoringCost, Verdict

MakeGroup = Callable[..., ScoredGroup]


def claims(*verdicts: str) -> tuple[CheckedClaim, ...]:
    return tuple(CheckedClaim("drusen", "x", True, 0, 1, Verdict(v), 1.0, "record", "", "why") for v in verdicts)


def with_rollouts(group: ScoredGroup, *changes: dict[str, object]) -> ScoredGroup:
    scored = tuple(dataclasses.replace(s, **c) for s, c in zip(group.scored, changes, strict=True))  # type: ignore[arg-type]
    return dataclasses.replace(group, scored=scored)


def test_shares_are_of_all_claims_and_lengths_of_all_scored_chains(make_group: MakeGroup) -> None:
    group = with_rollouts(
        make_group([0.5, 0.5, 0.5]),
        {"claims": claims("supported", "supported", "contradicted", "not_found")},
        {"claims": claims("not_found")},
        {"claims": ()},
    )
    flat = health_metrics([group, make_group([None])]).flat()
    assert flat["claims/supported"] == pytest.approx(2 / 5)
    assert flat["claims/contradicted"] == pytest.approx(1 / 5)
    assert flat["claims/not_found"] == pytest.approx(2 / 5)
    assert flat["claims/per_chain"] == pytest.approx(5 / 3)


def test_without_claims_there_are_no_shares(make_group: MakeGroup) -> None:
    flat = health_metrics([make_group([0.5])]).flat()
    assert "claims/not_found" not in flat
    assert flat["claims/per_chain"] == 0


def test_deviation_and_signal_are_within_groups(make_group: MakeGroup) -> None:
    # Totals 0 and 1 deviate by 0.5, equal ones not at all, however far apart the groups are.
    flat = health_metrics([make_group([0.0, 1.0]), make_group([0.9, 0.9]), make_group([0.1, 0.1])]).flat()
    assert flat["health/group_deviation"] == pytest.approx(0.5 / 3)
    assert flat["health/no_signal_share"] == pytest.approx(2 / 3)


def test_parts_agree_with_accuracy_within_groups_only(make_group: MakeGroup) -> None:
    def parts(accuracy: float, grounding: float | None) -> dict[str, object]:
        return {"parts": {"accuracy": accuracy, "format": 1.0, "grounding": grounding}}

    group = with_rollouts(make_group([0.1, 0.2, 0.3]), parts(1.0, 0.8), parts(0.0, 0.2), parts(1.0, None))
    flat = health_metrics([group]).flat()
    assert flat["health/with_accuracy_grounding"] == pytest.approx(1.0)
    assert flat["health/deviation_grounding"] == pytest.approx(0.3)
    assert "health/with_accuracy_format" not in flat
    masked = with_rollouts(make_group([0.1, 0.2]), parts(1.0, None), parts(0.0, None))
    assert "health/deviation_grounding" not in health_metrics([masked]).flat()


def test_correlation_by_hand() -> None:
    assert within_groups([[(0.0, 0.0), (1.0, 1.0)], [(0.5, 1.0), (0.5, 1.0)]]) == pytest.approx(1.0)
    # Across groups the two would go together; within each they go against one another.
    assert within_groups([[(0.1, 0.0), (0.0, 0.1)], [(0.9, 1.0), (1.0, 0.9)]]) == pytest.approx(-1.0)
    # Deviations (-1, 1, 0) and (-1, 0, 1): product 1, squares 2 and 2.
    assert within_groups([[(0.0, 0.0), (2.0, 1.0), (1.0, 2.0)]]) == pytest.approx(0.5)
    assert within_groups([[(1.0, 0.0), (1.0, 1.0)]]) is None
    assert within_groups([]) is None


def test_recited_is_right_for_the_answer_and_not_on_the_image() -> None:
    record = load_records().get("diabetic retinopathy", Modality.CFP)
    stated = ["drusen", "microaneurysm", "enlarged_cup", "hard_exudate"]
    assert recited(stated, [record], annotated=["drusen", "hard_exudate"]) == ("microaneurysm",)
    assert recited(stated, [record], annotated=[]) == ("microaneurysm", "hard_exudate")
    assert recited([], [record], annotated=[]) == ()


def test_a_finding_of_a_group_is_recited_like_a_required_one() -> None:
    # Glaucoma asks for any of enlarged_cup, rim_thinning, rnfl_defect, and requires nothing alone.
    record = load_records().get("glaucoma", Modality.CFP)
    assert recited(["enlarged_cup", "rim_thinning", "drusen"], [record], annotated=["rim_thinning"]) == (
        "enlarged_cup",
    )


def test_recital_is_not_known_without_annotation_record_or_answer() -> None:
    record = load_records().get("diabetic retinopathy", Modality.CFP)
    assert recited(["microaneurysm"], [record], annotated=None) is None
    assert recited(["microaneurysm"], [record, None], annotated=[]) is None
    assert recited(["microaneurysm"], [], annotated=[]) is None


def test_the_recital_rate_is_over_stated_findings_where_it_is_known(make_group: MakeGroup) -> None:
    group = with_rollouts(
        make_group([0.1, 0.2, 0.3]),
        {"findings": ("a", "b", "c"), "recited": ("b",)},
        {"findings": ("a",), "recited": ()},
        {"findings": ("a", "b", "c", "d"), "recited": None},
    )
    assert health_metrics([group]).flat()["health/recital_rate"] == pytest.approx(1 / 4)


def test_cost_is_summed_over_groups(make_group: MakeGroup) -> None:
    costs = (
        ScoringCost(cache_hits=3, cache_misses=1),
        ScoringCost(cache_hits=0, cache_misses=4, failures=5, tries=3, held_s=2.5, breaker="open"),
        ScoringCost(tries=2, held_s=7.0, outage="mask"),
        ScoringCost(tries=4, held_s=6.0, outage="drop"),
    )
    flat = cost_metrics([dataclasses.replace(make_group([0.5]), cost=cost) for cost in costs]).flat()
    assert flat == {
        "search/hit_rate": 3 / 8,
        "search/failures": 5.0,
        "search/retries": 2.0 + 1.0 + 3.0,
        "search/breaker_open_share": 1 / 4,
        "outage/held": 3.0,
        "outage/held_s": 7.0,
        "outage/masked": 1.0,
        "outage/dropped": 1.0,
    }


def test_unscorable_rollouts_count_for_nothing(make_group: MakeGroup) -> None:
    down: ScoredRollout = make_group([None]).scored[0]
    assert down.status is RewardStatus.UNSCORABLE
    assert health_metrics([make_group([None, None])]).flat() == {}
