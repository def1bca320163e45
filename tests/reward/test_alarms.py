"""Each collapse raises its own alarm with its numbers, and a healthy run none."""

from __future__ import annotations

import math

import pytest

from fundus_ray.reward.alarms import WINDOW, alarms

PAID = ("accuracy", "consistency", "knowledge")
HEALTHY = {
    "health/no_signal_share": 0.2,
    "claims/not_found": 0.4,
    "health/recital_rate": 0.2,
    "reward/total": 0.6,
    "reward/format": 0.95,
    "reward/accuracy": 0.5,
    "reward/consistency": 0.6,
    "reward/knowledge": 0.6,
    "health/deviation_consistency": 0.2,
    "health/deviation_knowledge": 0.2,
    "health/with_accuracy_consistency": 0.3,
    "health/with_accuracy_knowledge": 0.1,
    "completion/tokens_mean": 40.0,
    "outage/masked": 0.0,
    "outage/dropped": 0.0,
}
GROWN = [HEALTHY] * WINDOW


def kinds(history: list[dict[str, float]], paid: tuple[str, ...] = PAID) -> list[str]:
    return [alarm.kind for alarm in alarms(history, paid=paid)]


def test_a_healthy_run_raises_none() -> None:
    assert kinds([HEALTHY] * 3 * WINDOW) == []
    assert kinds([]) == []


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"claims/not_found": 0.99}, "not found", "99% of the stated relations"),
        ({"health/no_signal_share": 0.9}, "no signal", "90% of the groups"),
        ({"completion/tokens_mean": 12.0}, "short chains", "from 40 to 12 tokens"),
        ({"reward/format": 0.09}, "malformed chains", "from 95% to 9%"),
        ({"reward/total": 0.2}, "reward lost", "from 0.60 to 0.20"),
        ({"health/recital_rate": 0.5, "reward/accuracy": 0.5}, "recital", "rose from 20% to 50%"),
        ({"health/deviation_knowledge": 0.0}, "constant knowledge", "`knowledge` is 0.60 for all"),
        ({"health/with_accuracy_consistency": -0.5}, "opposed consistency", "is -0.50"),
    ],
)
def test_collapse_is_named_with_its_numbers_and_a_remedy(change: dict[str, float], kind: str, said: str) -> None:
    history = [*GROWN, *[{**HEALTHY, **change}] * WINDOW]
    (alarm,) = alarms(history, paid=PAID)
    assert alarm.kind == kind
    assert said in alarm.text
    assert ";" in alarm.text
    assert "\n" not in alarm.text


def test_one_bad_step_is_no_collapse() -> None:
    bad = {**HEALTHY, "claims/not_found": 1.0, "health/no_signal_share": 1.0, "completion/tokens_mean": 1.0}
    assert kinds([*GROWN, *GROWN, bad]) == []


def test_what_is_not_paid_raises_none() -> None:
    collapsed = {
        **HEALTHY,
        "claims/not_found": 1.0,
        "health/deviation_knowledge": 0.0,
        "health/recital_rate": 0.9,
        "health/with_accuracy_consistency": -0.9,
    }
    assert kinds([*GROWN, *[collapsed] * WINDOW], paid=("accuracy",)) == []


def test_a_part_that_is_always_high_is_learned_and_not_collapsed() -> None:
    learned = {**HEALTHY, "health/deviation_consistency": 0.0, "reward/consistency": 1.0}
    assert kinds([*GROWN, *[learned] * WINDOW]) == []


def test_recital_that_rises_with_accuracy_is_no_alarm() -> None:
    better = {**HEALTHY, "health/recital_rate": 0.5, "reward/accuracy": 0.7}
    assert kinds([*GROWN, *[better] * WINDOW]) == []


def test_an_outage_is_told_at_once_with_its_counts() -> None:
    (alarm,) = alarms([{**HEALTHY, "outage/dropped": 3.0, "outage/masked": 1.0}], paid=PAID)
    assert alarm.kind == "outage"
    assert "3 groups of this step dropped, 1 scored without it" in alarm.text


def test_missing_and_non_finite_values_are_no_ground_for_an_alarm() -> None:
    holes: dict[str, float] = {"claims/not_found": math.nan, "health/no_signal_share": math.inf}
    assert kinds([*[holes] * 3 * WINDOW]) == []
    mixed = [*GROWN, *[{**HEALTHY, "claims/not_found": 1.0}, {}, {}, {}, {}]]
    assert kinds(mixed) == []


def test_a_policy_that_breaks_is_told_of_after_two_steps() -> None:
    broken = {**HEALTHY, "reward/format": 0.1, "reward/total": 0.1}
    assert kinds([*GROWN, broken]) == []
    assert kinds([*GROWN, broken, broken]) == ["malformed chains", "reward lost"]


def test_chains_that_never_had_the_asked_form_lose_none() -> None:
    assert kinds([{**HEALTHY, "reward/format": 0.0}] * 3 * WINDOW) == []
