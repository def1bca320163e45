"""Held-out metrics with their intervals. Pure: rows in, an `EvalResult` out; all shares in [0, 1].

A metric without a single sample to stand on is None, never zero. Samples that could not be scored are no rows: they are
counted under `failed` and printed beside `n`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution
BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class EvalRow:
    """One held-out sample with its greedy chain."""

    sample: str
    image: str  # its SHA-256, or with run.image_paths its path
    task: str
    question: str
    options: tuple[str, ...]
    gold_answer: tuple[str, ...]
    gold_findings: tuple[str, ...] | None  # ids; None = the image is not annotated
    text: str
    answer: tuple[str, ...] | None  # None = no readable answer, which is a wrong one
    correct: bool
    findings: tuple[str, ...]  # ids asserted in the chain, of those that the annotators looked for
    recited: tuple[str, ...] | None  # those that fit the answer but are not on the image; None = it cannot be told
    well_formed: bool
    status: str
    total: float
    parts: dict[str, float | None]
    policy_step: int
    policy_sha256: str


@dataclass(frozen=True, slots=True)
class FindingScores:
    """Micro-averaged over annotated samples; `n` of them. None where the denominator is zero."""

    f1: float | None
    recall: float | None
    precision: float | None
    n: int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One answer against the rest of its task. None where there are no positives (negatives)."""

    sensitivity: float | None
    specificity: float | None
    positives: int
    negatives: int


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Everything an evaluation says; `*_low` and `*_high` bound 95 % intervals."""

    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    finding_f1: float | None
    finding_f1_low: float | None
    finding_f1_high: float | None
    finding_recall: float | None
    finding_precision: float | None
    finding_n: int  # annotated samples
    recital_rate: float | None
    recital_rate_low: float | None
    recital_rate_high: float | None
    format_rate: float | None
    format_rate_low: float | None
    format_rate_high: float | None
    n: int  # scored samples
    failed: Mapping[str, int]  # samples that could not be scored, by reason
    per_class: Mapping[str, ClassScore]
    rows: tuple[EvalRow, ...] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON, without the rows."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("rows", "per_class", "failed")}
        per_class = {name: asdict(score) for name, score in self.per_class.items()}
        return {**plain, "failed": dict(self.failed), "per_class": per_class}


def summarise(rows: Sequence[EvalRow], *, failed: Mapping[str, int]) -> EvalResult:
    """All metrics over the rows."""
    accuracy, accuracy_low, accuracy_high = share_with_interval([row.correct for row in rows])
    form, form_low, form_high = share_with_interval([row.well_formed for row in rows])
    findings = finding_scores(rows)
    f1_low, f1_high = finding_f1_interval(rows)
    recital, recital_low, recital_high = recital_rate(rows)
    return EvalResult(
        accuracy=accuracy,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        finding_f1=findings.f1,
        finding_f1_low=f1_low,
        finding_f1_high=f1_high,
        finding_recall=findings.recall,
        finding_precision=findings.precision,
        finding_n=findings.n,
        recital_rate=recital,
        recital_rate_low=recital_low,
        recital_rate_high=recital_high,
        format_rate=form,
        format_rate_low=form_low,
        format_rate_high=form_high,
        n=len(rows),
        failed=dict(failed),
        per_class=class_scores(rows),
        rows=tuple(rows),
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, 1927, JASA 22:209). Raises ValueError unless 0 <= successes <= n, n > 0.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a share")
    p = successes / n
    z2 = Z_95 * Z_95
    centre = p + z2 / (2 * n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def share_with_interval(hits: Sequence[bool]) -> tuple[float, float, float] | tuple[None, None, None]:
    """(share, low, high), or Nones where there is nothing."""
    if not hits:
        return None, None, None
    low, high = wilson_interval(sum(hits), len(hits))
    return sum(hits) / len(hits), low, high


def finding_scores(rows: Sequence[EvalRow]) -> FindingScores:
    """Asserted against annotated finding sets, counts summed over the annotated samples before dividing.

    f1 = 2 tp / (2 tp + fp + fn); precision = tp / (tp + fp); recall = tp / (tp + fn).
    """
    counts = _finding_counts(rows)
    tp, fp, fn = (int(c) for c in counts.sum(axis=0))
    return FindingScores(
        f1=_share(2 * tp, 2 * tp + fp + fn), recall=_share(tp, tp + fn), precision=_share(tp, tp + fp), n=len(counts)
    )


def finding_f1_interval(rows: Sequence[EvalRow]) -> tuple[float, float] | tuple[None, None]:
    """95 % bootstrap interval of the micro F1."""
    tp, fp, fn = _finding_counts(rows).T
    return _interval_of_ratio(2 * tp, 2 * tp + fp + fn)


def recital_rate(rows: Sequence[EvalRow]) -> tuple[float, float, float] | tuple[None, None, None]:
    """(recited findings / stated findings, low, high), counts summed over the samples where it can be told; Nones where
    none of those states a finding. What recited means is said at `reward.health.recited`; the interval is bootstrapped.
    """
    known = [(len(row.recited), len(row.findings)) for row in rows if row.recited is not None]
    recited, stated = np.array(known, dtype=np.int64).reshape(-1, 2).T
    low, high = _interval_of_ratio(recited, stated)
    if low is None or high is None:
        return None, None, None
    return float(recited.sum() / stated.sum()), low, high


def _interval_of_ratio(
    numerators: NDArray[np.int64], denominators: NDArray[np.int64]
) -> tuple[float, float] | tuple[None, None]:
    """95 % percentile bootstrap over samples ([N] each) of sum / sum (Efron, 1979); the same rows give the same
    interval. Nones where the denominators add up to nothing."""
    if not denominators.sum():
        return None, None
    rng = np.random.default_rng(0)
    n, counts = len(denominators), np.stack([numerators, denominators], axis=1)
    # How often each sample is drawn stands for the draws themselves; one resample at a time keeps memory small.
    resampled = [rng.multinomial(n, np.full(n, 1 / n)) @ counts for _ in range(BOOTSTRAP_DRAWS)]
    above, below = np.array(resampled, dtype=float).T
    low, high = np.quantile(above[below > 0] / below[below > 0], [0.025, 0.975])
    return float(low), float(high)


def class_scores(rows: Sequence[EvalRow]) -> dict[str, ClassScore]:
    """Sensitivity and specificity of every right answer, one against the rest.

    Negatives of a class are the samples of the same task that could have been answered with it (all of them where
    the answer is free text). Classes are named by the answer, and by "task: answer" where there are several tasks.
    """
    several = len({row.task for row in rows}) > 1
    scores: dict[str, ClassScore] = {}
    for task, answer in sorted({(row.task, gold) for row in rows for gold in row.gold_answer}):
        asked = [r for r in rows if r.task == task and (not r.options or answer in r.options)]
        said = {True: 0, False: 0}
        total = {True: 0, False: 0}
        for row in asked:
            positive = answer in row.gold_answer
            total[positive] += 1
            said[positive] += (row.answer is not None and answer in row.answer) == positive
        scores[f"{task}: {answer}" if several else answer] = ClassScore(
            sensitivity=_share(said[True], total[True]),
            specificity=_share(said[False], total[False]),
            positives=total[True],
            negatives=total[False],
        )
    return scores


def _finding_counts(rows: Sequence[EvalRow]) -> NDArray[np.int64]:
    """[annotated samples, 3]: findings right, asserted wrongly, missed."""
    pairs = [(set(row.findings), set(row.gold_findings)) for row in rows if row.gold_findings is not None]
    counts = [(len(said & true), len(said - true), len(true - said)) for said, true in pairs]
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
