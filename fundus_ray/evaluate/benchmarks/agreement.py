"""What a score does not say: each label on its own, grades that are off by one or by three, ranking by confidence.

In: verdicts of one task file. Out: plain numbers; None where there is nothing to divide by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fundus_ray.evaluate.benchmarks.question import Verdict

# Tasks whose options are grades, lowest first, shown in any order.
_GRADES = {
    "L4c-dr_grading": (
        "No any diabetic retinopathy",
        "Mild nonproliferative diabetic retinopathy",
        "Moderate nonproliferative diabetic retinopathy",
        "Severe nonproliferative diabetic retinopathy",
        "Proliferative diabetic retinopathy",
    ),
    "L4d-amd_categorization": (
        "No any age-related macular degeneration",
        "Early age-related macular degeneration",
        "Intermediate age-related macular degeneration",
        "Late age-related macular degeneration",
    ),
}
_SHOWN_IN_ORDER = {"L3c-lesion_size_estimation", "L3d-lesion_counting"}  # tasks whose options always stand in order


@dataclass(frozen=True, slots=True)
class LabelRates:
    """One label against the rest, over the questions that offer it."""

    label: str
    sensitivity: float | None
    specificity: float | None
    harmonic_mean: float | None  # 0 where both are 0
    positives: int
    negatives: int
    auroc: float | None
    scored: int  # questions with a number for this label, which `auroc` is of


@dataclass(frozen=True, slots=True)
class Kappa:
    """`n` questions with a readable answer."""

    value: float | None
    n: int


def label_rates(label: str, verdicts: Sequence[Verdict]) -> LabelRates:
    """The label's rates; `verdicts` of one file."""
    offered = [v for v in verdicts if label in v.question.options]
    positive = np.array([label in v.question.gold for v in offered], dtype=bool)
    chosen = np.array([label in v.chosen for v in offered], dtype=bool)
    sensitivity = _share(int((chosen & positive).sum()), int(positive.sum()))
    specificity = _share(int((~chosen & ~positive).sum()), int((~positive).sum()))
    known = [
        (v.answer.scores[label], label in v.question.gold)
        for v in offered
        if v.answer is not None and v.answer.scores is not None and label in v.answer.scores
    ]
    return LabelRates(
        label=label,
        sensitivity=sensitivity,
        specificity=specificity,
        harmonic_mean=_harmonic(sensitivity, specificity),
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
        auroc=auroc([score for score, _ in known], [right for _, right in known]),
        scored=len(known),
    )


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Share of (positive, negative) pairs that the scores put in the right order, ties as half (Mann and Whitney,
    1947); None without a pair."""
    right = np.array(positive, dtype=bool)
    pairs = int(right.sum()) * int((~right).sum())
    if not pairs:
        return None
    ranks = rankdata(np.array(scores, dtype=float))
    n = int(right.sum())
    return float((ranks[right].sum() - n * (n + 1) / 2) / pairs)


def grade_scale(task: str, verdicts: Sequence[Verdict]) -> tuple[str, ...] | None:
    """The task's grades, lowest first; None where its options are no grades."""
    if task in _SHOWN_IN_ORDER:
        shown = {v.question.options for v in verdicts}
        return shown.pop() if len(shown) == 1 else None
    return _GRADES.get(task)


def grade_kappa(scale: Sequence[str], verdicts: Sequence[Verdict]) -> Kappa:
    """Agreement of right and chosen grades; answers that chose no grade are left out, and so counted by `n`."""
    place = {grade: i for i, grade in enumerate(scale)}
    pairs = [
        (place[v.question.gold[0]], place[v.chosen[0]])
        for v in verdicts
        if len(v.chosen) == 1 and v.chosen[0] in place and v.question.gold[0] in place
    ]
    table = np.zeros((len(scale), len(scale)))
    for gold, said in pairs:
        table[gold, said] += 1
    return Kappa(quadratic_kappa(table), len(pairs))


def quadratic_kappa(table: NDArray[np.float64]) -> float | None:
    """Cohen's kappa (1968) with weights (i - j)^2 of a table [right grade, chosen grade] of counts.

    1 - sum(w * observed) / sum(w * expected), expected = row sums x column sums / n; None where the latter is 0.
    """
    places = np.arange(len(table))
    weights = (places[:, None] - places[None, :]) ** 2
    expected = float((weights * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
    return 1 - float((weights * table).sum()) * float(table.sum()) / expected if expected else None


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
