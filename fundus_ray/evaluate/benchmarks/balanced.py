"""FunBench's score of one task file: sensitivity and specificity of each label, and their harmonic mean.

The labels are the texts that are right for some question of the file: sorted, but Yes before No. A question counts for
a label only where the label is among its options. One label: its sensitivity is the score. Two: the harmonic mean
2 * sens * spec / (sens + spec) of the first. More: the plain mean of all labels' harmonic means. FunBench calls it F1;
it is not the F1 of precision and recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.evaluate.benchmarks.question import Verdict

TRUE_POSITIVE, POSITIVE, TRUE_NEGATIVE, NEGATIVE = range(4)
COARSE_MODALITY = "L1a-coarse_modality_perception"  # of which the published scorer always takes the sensitivity


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """`counts` [patients of the file, labels, 4]: true positives, positives, true negatives, negatives."""

    labels: tuple[str, ...]
    patients: NDArray[np.int64]  # place of each patient among those of the whole benchmark
    counts: NDArray[np.float64]


def label_counts(verdicts: Sequence[Verdict], place: dict[str, int]) -> LabelCounts:
    """Counts of one file. `place`: patient -> place among all patients."""
    labels = labels_of(verdicts)
    column = {label: i for i, label in enumerate(labels)}
    patients = sorted({place[v.question.patient] for v in verdicts})
    row = {patient: i for i, patient in enumerate(patients)}
    counts = np.zeros((len(patients), len(labels), 4))
    for verdict in verdicts:
        question = verdict.question
        own = counts[row[place[question.patient]]]
        for option in set(question.options) & column.keys():
            chosen, right = option in verdict.chosen, option in question.gold
            own[column[option], POSITIVE if right else NEGATIVE] += 1
            if chosen == right:
                own[column[option], TRUE_POSITIVE if right else TRUE_NEGATIVE] += 1
    return LabelCounts(labels, np.array(patients, dtype=np.int64), counts)


def labels_of(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The file's labels, in the order that decides which is the first of two."""
    labels = sorted({right for verdict in verdicts for right in verdict.question.gold})
    return ("Yes", "No") if labels == ["No", "Yes"] else tuple(labels)


def rates(counts: NDArray[np.float64], *, guard: bool) -> tuple[NDArray[np.float64], ...]:
    """(sensitivity, specificity, harmonic mean) [..., labels] of counts [..., labels, 4].

    NaN where there are no positives (negatives). Where both rates are 0 the harmonic mean is 0, its limit; without
    `guard` it is 0/0 = NaN, as in the published scorer.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = counts[..., TRUE_POSITIVE] / counts[..., POSITIVE]
        specificity = counts[..., TRUE_NEGATIVE] / counts[..., NEGATIVE]
        harmonic = 2 * sensitivity * specificity / (sensitivity + specificity)
    if guard:
        harmonic = np.where(sensitivity + specificity == 0, 0.0, harmonic)
    return sensitivity, specificity, harmonic


def file_score(counts: NDArray[np.float64], *, task: str, guard: bool) -> NDArray[np.float64]:
    """[...] the file's score of counts [..., labels, 4]; NaN where it has none.

    With `guard` a label without a defined harmonic mean is left out of the mean; without, it makes the mean NaN, and
    one label has a score in the task of coarse modality only.
    """
    sensitivity, _, harmonic = rates(counts, guard=guard)
    if not guard and task == COARSE_MODALITY:
        return sensitivity[..., 0] if counts.shape[-2] <= 2 else sensitivity.mean(axis=-1)
    match counts.shape[-2]:
        case 1:
            return sensitivity[..., 0] if guard else np.full(counts.shape[:-2], np.nan)
        case 2:
            return harmonic[..., 0]
        case _:
            return mean(np.moveaxis(harmonic, -1, 0), guard=guard)


def mean(values: NDArray[np.float64], *, guard: bool) -> NDArray[np.float64]:
    """[...] mean over the first axis of [K, ...]; with `guard` of what is defined, and NaN where nothing is."""
    if not guard:
        return values.mean(axis=0)
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        total: NDArray[np.float64] = np.where(defined, values, 0.0).sum(axis=0) / defined.sum(axis=0)
    return total
