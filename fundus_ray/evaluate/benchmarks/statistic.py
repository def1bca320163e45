"""A benchmark's scores as functions of how often each patient counts, so that a bootstrap is the score itself again.

A statistic takes weights [draws, patients] and gives {(kind, name): [draws]}. All weights 1 is the score; weights drawn
with replacement are a resample of the patients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fundus_ray.evaluate.benchmarks.balanced import file_score, label_counts, mean
from fundus_ray.evaluate.benchmarks.funbench import level_of, subtask_of, task_of
from fundus_ray.evaluate.benchmarks.question import Verdict

Name = tuple[str, str]  # ("levels", "L1-modality_perception")
Statistic = Callable[[NDArray[np.float64]], dict[Name, NDArray[np.float64]]]
OVERALL: Name = ("overall", "")

_DRAWS, _BATCH = 2000, 50  # resamples; those at once, which bounds memory


def places(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Patient -> place, sorted by name, so that the order of questions changes no draw."""
    return {patient: i for i, patient in enumerate(sorted({v.question.patient for v in verdicts}))}


def funbench_statistic(files: Mapping[str, Sequence[Verdict]], place: dict[str, int], *, guard: bool) -> Statistic:
    """Sub-tasks -> tasks -> levels -> overall, a plain mean each. `files`: task file -> its verdicts."""
    counted = {file: label_counts(verdicts, place) for file, verdicts in files.items()}

    def statistic(weights: NDArray[np.float64]) -> dict[Name, NDArray[np.float64]]:
        scores: dict[Name, NDArray[np.float64]] = {}
        tasks: dict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)
        for file, own in counted.items():
            counts = np.asarray(np.tensordot(weights[:, own.patients], own.counts, axes=1), np.float64)
            score = file_score(counts, task=task_of(file), guard=guard)
            if subtask := subtask_of(file):
                scores["subtasks", subtask] = score
            tasks[level_of(file), task_of(file)].append(score)
        levels: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for (level, task), parts in tasks.items():
            scores["tasks", task] = mean(np.stack(parts), guard=guard)
            levels[level].append(scores["tasks", task])
        for level, parts in levels.items():
            scores["levels", level] = mean(np.stack(parts), guard=guard)
        scores[OVERALL] = mean(np.stack([scores["levels", level] for level in levels]), guard=guard)
        return scores

    return statistic


def accuracy_statistic(verdicts: Sequence[Verdict], place: dict[str, int], *, kinds: Mapping[str, str]) -> Statistic:
    """Share of right answers: of all, and of each value of each dimension. `kinds`: dimension -> kind of its scores."""
    names = [OVERALL, *sorted({(kinds[d], value) for v in verdicts for d, value in v.question.groups.items()})]
    column = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(place), len(names), 2))  # right answers, questions
    for verdict in verdicts:
        own = counts[place[verdict.question.patient]]
        for name in (OVERALL, *((kinds[d], value) for d, value in verdict.question.groups.items())):
            own[column[name]] += (verdict.correct, 1)

    def statistic(weights: NDArray[np.float64]) -> dict[Name, NDArray[np.float64]]:
        summed = np.tensordot(weights, counts, axes=1)
        with np.errstate(invalid="ignore"):
            shares = summed[..., 0] / summed[..., 1]
        return {name: shares[:, i] for name, i in column.items()}

    return statistic


def point(statistic: Statistic, patients: int) -> dict[Name, float]:
    """The scores themselves."""
    return {name: float(values[0]) for name, values in statistic(np.ones((1, patients))).items()}


def intervals(statistic: Statistic, patients: int) -> dict[Name, tuple[float, float]]:
    """95 % percentile bootstrap over patients (Efron, 1979); the same verdicts give the same intervals. A draw in which
    a score is undefined is left out of that score's interval, and a score without any has none."""
    rng = np.random.default_rng(0)
    even = np.full(patients, 1 / patients)
    drawn: dict[Name, list[NDArray[np.float64]]] = defaultdict(list)
    for _ in range(_DRAWS // _BATCH):
        weights = rng.multinomial(patients, even, size=_BATCH).astype(np.float64)
        for name, values in statistic(weights).items():
            drawn[name].append(values[~np.isnan(values)])
    found: dict[Name, tuple[float, float]] = {}
    for name, parts in drawn.items():
        values = np.concatenate(parts)
        if values.size:
            low, high = np.quantile(values, [0.025, 0.975])
            found[name] = float(low), float(high)
    return found
