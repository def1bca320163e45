"""Bootstrap by patient, McNemar, kappa, AUROC: numbers worked out by hand or by another method."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fundus_ray.evaluate.benchmarks.against import mcnemar
from fundus_ray.evaluate.benchmarks.agreement import auroc, quadratic_kappa
from fundus_ray.evaluate.benchmarks.balanced import file_score, rates
from fundus_ray.evaluate.benchmarks.question import Question, Verdict
from fundus_ray.evaluate.benchmarks.statistic import OVERALL, accuracy_statistic, intervals, places, point


def verdict(i: int, patient: str, correct: bool) -> Verdict:
    question = Question("f.json", str(i), f"{i}.jpg", patient, "?", ("a", "b"), ("a",), False, {}, {"modality": "x"})
    return Verdict(question, None, "", "letter", ("a",) if correct else ("b",))


def test_questions_of_a_patient_are_drawn_together() -> None:
    verdicts = [verdict(i, f"p{i // 10}", correct=i < 10) for i in range(20)]
    place = places(verdicts)
    statistic = accuracy_statistic(verdicts, place, kinds={"modality": "modality"})
    assert point(statistic, len(place)) == {OVERALL: 0.5, ("modality", "x"): 0.5}
    # Two patients, all right and all wrong: a quarter of the draws takes the one twice, a quarter the other.
    assert intervals(statistic, len(place))[OVERALL] == (0, 1)


def test_interval_of_many_patients_is_that_of_a_share() -> None:
    verdicts = [verdict(i, f"p{i}", correct=i % 2 == 0) for i in range(400)]
    place = places(verdicts)
    statistic = accuracy_statistic(verdicts, place, kinds={"modality": "modality"})
    # 1.96 * sqrt(0.25 / 400) = 0.049
    assert intervals(statistic, len(place))[OVERALL] == pytest.approx((0.451, 0.549), abs=0.006)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    ours = [True] * 9 + [False] * 3 + [True] * 4
    theirs = {("f.json", str(i)): i >= 9 for i in range(15)}  # the last question was not asked there
    found = mcnemar([verdict(i, "p", right) for i, right in enumerate(ours)], theirs)
    assert (found.questions, found.only_ours, found.only_theirs) == (15, 9, 3)
    # 2 * (C(12,0) + C(12,1) + C(12,2) + C(12,3)) / 2^12
    assert found.p == pytest.approx(2 * (1 + 12 + 66 + 220) / 4096)


def test_mcnemar_without_a_difference_says_nothing() -> None:
    assert mcnemar([verdict(0, "p", True)], {("f.json", "0"): True}).p == 1
    assert mcnemar([verdict(0, "p", True)], {}).questions == 0


def test_quadratic_kappa_by_hand() -> None:
    # n = 4; observed: three off by one: 3. Expected: rows (2, 1, 1), columns (1, 2, 1):
    # row 0: 2 * (0 + 2 + 4) = 12; row 1: 1 + 0 + 1 = 2; row 2: 4 + 2 + 0 = 6; 20 / 4 = 5.
    table = np.array([[1.0, 1, 0], [0, 0, 1], [0, 1, 0]])
    assert quadratic_kappa(table) == pytest.approx(1 - 3 / 5)
    assert quadratic_kappa(np.diag([2.0, 3, 1])) == 1
    assert quadratic_kappa(np.array([[4.0, 0], [0, 0]])) is None


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, 40).astype(float).tolist()
    positive = (rng.random(40) < 0.4).tolist()
    yes = [s for s, p in zip(scores, positive, strict=True) if p]
    no = [s for s, p in zip(scores, positive, strict=True) if not p]
    won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(yes, no))
    assert auroc(scores, positive) == pytest.approx(won / (len(yes) * len(no)))
    assert auroc([0.1, 0.2], [True, True]) is None


def test_rates_of_a_label_without_negatives_or_with_nothing_right() -> None:
    # true positives, positives, true negatives, negatives
    counts = np.array([[2.0, 4, 3, 6], [0, 4, 0, 6], [3, 3, 0, 0]])
    sensitivity, specificity, harmonic = rates(counts, guard=True)
    assert sensitivity.tolist() == [0.5, 0, 1]
    assert specificity[:2].tolist() == [0.5, 0]
    assert harmonic[:2].tolist() == [0.5, 0]
    assert np.isnan([specificity[2], harmonic[2]]).all()
    assert file_score(counts, task="L4b-multi_condition_diagnosis", guard=True) == 0.25
    assert np.isnan(file_score(counts, task="L4b-multi_condition_diagnosis", guard=False))
    assert file_score(counts[:1], task="L4c-dr_grading", guard=True) == 0.5
    assert np.isnan(file_score(counts[:1], task="L4c-dr_grading", guard=False))
    assert file_score(counts[:1], task="L1a-coarse_modality_perception", guard=False) == 0.5
