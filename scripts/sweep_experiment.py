"""A part of the asynchronous sweep: its runs side by side. In: finished runs. Out: what is compared between them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from paired_difference import Counts, Difference, bootstrapped
from scipy.stats import t as student_t
from sweep_measures import Figures, LeftOut, Point, Setting, SpeedUp, SweepRun, curve, figures, speed_up

from fundus_ray.errors import DataError
from fundus_ray.evaluate.metrics import EvalRow, share_with_interval


@dataclass(frozen=True)
class Experiment:
    """A part of the sweep. `befores`: by seed, the run that evaluated the warm start; empty = nothing is evaluated."""

    name: str
    runs: Sequence[SweepRun]
    left_out: LeftOut
    befores: Mapping[int, Path]

    @cached_property
    def settings(self) -> list[Setting]:
        """Its rows, ratio 0 first."""
        return list(dict.fromkeys(run.setting for run in self.runs))

    def runs_of(self, setting: Setting) -> list[SweepRun]:
        """In order of seed and repeat."""
        return [run for run in self.runs if run.setting == setting]

    @cached_property
    def figures(self) -> dict[Path, Figures]:
        """By folder."""
        return {run.folder: figures(run.folder, self.left_out) for run in self.runs}

    @cached_property
    def curves(self) -> dict[Path, list[Point]]:
        """By folder; no point where nothing is evaluated."""
        return {run.folder: curve(run.folder, before=self.befores.get(run.seed)) for run in self.runs if self.befores}

    def speed_up(self, run: SweepRun) -> SpeedUp:
        """Over the synchronous run of the same seed and repeat."""
        twin = next(o for o in self.runs if not o.setting.ratio and (o.seed, o.repeat) == (run.seed, run.repeat))
        return speed_up(self.figures[run.folder], self.figures[twin.folder])

    def rows_after(self, setting: Setting) -> list[list[EvalRow]]:
        """Of each run the rows after its last update."""
        return [self.curves[run.folder][-1].rows for run in self.runs_of(setting)]


def mean_lags(of: Sequence[Figures]) -> dict[int, float]:
    """Share of rollouts by lag, the mean over runs."""
    lags = sorted({lag for f in of for lag in f.lags})
    return {lag: statistics.fmean(f.lags.get(lag, 0.0) for f in of) for lag in lags}


def pooled(experiment: Experiment, setting: Setting) -> list[Point]:
    """Each evaluation of all the setting's runs together: median seconds, the rows of all."""
    curves = [experiment.curves[run.folder] for run in experiment.runs_of(setting)]
    return [
        Point(
            updates=at[0].updates,
            samples=at[0].samples,
            seconds=statistics.median(point.seconds for point in at),
            rows=[row for point in at for row in point.rows],
        )
        for at in zip(*curves, strict=True)
    ]


def accuracy(rows: Sequence[EvalRow]) -> tuple[float, float, float]:
    """Share of right answers with Wilson's 95 % interval. Raises DataError where there is no row."""
    value, low, high = share_with_interval([row.correct for row in rows])
    if value is None or low is None or high is None:
        raise DataError("an evaluation holds no sample that could be scored")
    return value, low, high


def cost(stale: Sequence[Sequence[EvalRow]], synchronous: Sequence[Sequence[EvalRow]]) -> Difference:
    """Accuracy of the one less that of the other, seed by seed on the same samples."""
    found = bootstrapped([(_right(a), _right(b)) for a, b in zip(stale, synchronous, strict=True)])
    assert found is not None, "an evaluation has rows"
    return found


def seeds_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """mean -+ t(0.975; n - 1) s / sqrt(n); None for less than two."""
    n = len(values)
    if n < 2:
        return None
    mean, half = statistics.fmean(values), student_t.ppf(0.975, n - 1) * statistics.stdev(values) / n**0.5
    return mean - half, mean + half


def _right(rows: Sequence[EvalRow]) -> Counts:
    return np.array([(float(row.correct), 1.0) for row in rows])
