"""What one run of the asynchronous sweep measured. In: its folder. Out: numbers, also beside those of another run.

First and last updates are left out of times, idle shares and lags: engines still warm up, and the buffer of the largest
ratio r is filled during the first ceil(r) updates and drained during the last, when no more prompts are needed. Which
ones are left out is the same for all runs of a table, so that they are compared on the same updates.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.evaluate.metrics import EvalRow
from fundus_ray.obs.run_record import RunRecord, column, lag_counts, read_run, time_weighted
from fundus_ray.obs.sinks import checkpoint_name
from fundus_ray.obs.step_times import async_ceiling
from fundus_ray.obs.strict_json import read_json, read_lines

WARM_UP = 2  # updates until first allocations and empty caches are behind engine and learner
LAST_REWARDS = 5  # updates whose mean is the reward in the end
MACHINE_FILE = "machine.json"  # beside a run: how busy the machine was before it


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: `correction` is "" at ratio 0, where nothing is stale."""

    ratio: float
    correction: str

    @property
    def name(self) -> str:
        """As in tables and pictures."""
        return f"r = {self.ratio:g}" + (f", {self.correction}" if self.correction else "")


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A finished run and what it was asked for."""

    setting: Setting
    seed: int
    repeat: int
    folder: Path


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Updates at both ends that are not measured."""

    first: int
    last: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> LeftOut:
        """For a table with these ratios."""
        reach = max(math.ceil(ratio) for ratio in ratios)
        return cls(first=WARM_UP + reach, last=reach)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the measured updates. Seconds are medians over them, but for mean_step_s; shares are those of their whole time
    or of their rollouts.

    generate_s (Tg), score_s (Tr), update_s (Tt), sync_s (Ts): as obs/step_times.py says. At ratios above 0 stages wait
    for cores and for each other, and that waiting is in them too.
    mismatch, ess, masked: mean |log w| [nats], effective sample size, tokens that the correction left out.
    """

    steps: int
    step_s: float
    mean_step_s: float
    generate_s: float
    score_s: float
    update_s: float
    sync_s: float
    learner_idle: float
    engine_idle: float
    lags: Mapping[int, float]  # share of the trained rollouts by lag
    mismatch: float
    ess: float
    masked: float
    busy: float | None  # cores that other work used before the run began

    @property
    def ceiling(self) -> float:
        """Largest speed-up over the same work done one stage after the other."""
        return async_ceiling(
            generate_s=self.generate_s, score_s=self.score_s, update_s=self.update_s, sync_s=self.sync_s
        )

    @property
    def off_policy(self) -> float:
        """Share of rollouts that an older version wrote than the one that was updated."""
        return sum(share for lag, share in self.lags.items() if lag > 0)


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """Of a run over the synchronous one with as many samples a step. `share` of the synchronous run's ceiling."""

    value: float
    of_means: float  # by the whole measured time: steps that waited for a batch's tail count as long as they were
    ceiling: float

    @property
    def share(self) -> float:
        """How much of what was possible."""
        return self.value / self.ceiling


@dataclass(frozen=True, slots=True)
class Point:
    """Held-out rows after so many updates, trained samples, and seconds of training (evaluation not counted)."""

    updates: int
    samples: int
    seconds: float
    rows: list[EvalRow]


def figures(folder: Path, left_out: LeftOut) -> Figures:
    """Raises DataError where the folder is none of a run, or too few updates are left."""
    record = read_run(folder)
    kept = replace(record, steps=record.steps[left_out.first : len(record.steps) - left_out.last])
    if not kept.steps:
        raise DataError(
            f"{folder}: of its {len(record.steps)} updates the first {left_out.first} and the last {left_out.last} are "
            "left out, so none is measured; make more with --updates"
        )
    lags = lag_counts(kept)
    machine = folder / MACHINE_FILE
    return Figures(
        steps=len(kept.steps),
        step_s=_median(kept, "time/step"),
        mean_step_s=_mean(kept, "time/step"),
        generate_s=_median(kept, "time/generate"),
        score_s=_median(kept, "time/score"),
        update_s=_median(kept, "time/update"),
        sync_s=statistics.median(step["time/publish"] + step["time/deliver"] for step in kept.steps),
        learner_idle=_share(kept, "idle/learner"),
        engine_idle=_share(kept, "idle/generator"),
        lags={lag: count / sum(lags.values()) for lag, count in lags.items() if count},
        mismatch=_mean(kept, "mismatch/logprob_abs"),
        ess=_mean(kept, "mismatch/ess"),
        masked=_mean(kept, "masked_share"),
        busy=read_json(machine)["busy_cores"] if machine.is_file() else None,
    )


def speed_up(run: Figures, synchronous: Figures) -> SpeedUp:
    """(median step at ratio 0) / (median step), beside the ceiling of the stages' times at ratio 0."""
    return SpeedUp(
        value=synchronous.step_s / run.step_s,
        of_means=synchronous.mean_step_s / run.mean_step_s,
        ceiling=synchronous.ceiling,
    )


def rewards(folder: Path) -> tuple[list[int], list[float], list[float]]:
    """(trained samples, seconds of training, mean reward) after and of each update."""
    record = read_run(folder)
    samples = [update * _samples_a_step(record) for update, _ in enumerate(record.steps, start=1)]
    return samples, _elapsed(record), column(record, "reward/total")[1]


def last_reward(folder: Path) -> float:
    """Mean over the last updates."""
    return statistics.fmean(rewards(folder)[2][-LAST_REWARDS:])


def curve(folder: Path, *, before: Path | None) -> list[Point]:
    """Every evaluation, in order of updates; `before` holds that of the policy which training started from."""
    record = read_run(folder)
    samples, elapsed = _samples_a_step(record), [0.0, *_elapsed(record)]
    named = {step: (folder, checkpoint_name(step)) for step in record.checkpoints}
    if before is not None:
        named[0] = (before, "before")
    if record.after is not None:
        named[len(record.steps)] = (folder, "after")
    return [
        Point(updates=step, samples=step * samples, seconds=elapsed[step], rows=_rows(*named[step]))
        for step in sorted(named)
    ]


def _rows(folder: Path, when: str) -> list[EvalRow]:
    return [EvalRow(**row) for row in read_lines(folder / f"evaluation-{when}-rows.jsonl")]


def _samples_a_step(record: RunRecord) -> int:
    config: Mapping[str, Any] = record.config
    return int(config["loop"]["groups_per_step"]) * int(config["rollout"]["group_size"])


def _elapsed(record: RunRecord) -> list[float]:
    """Seconds of training at the end of each update: checkpoints and evaluations lie between updates, not in them."""
    return list(itertools.accumulate(column(record, "time/step")[1]))


def _median(record: RunRecord, name: str) -> float:
    return statistics.median(column(record, name)[1])


def _mean(record: RunRecord, name: str) -> float:
    return statistics.fmean(column(record, name)[1])


def _share(record: RunRecord, name: str) -> float:
    value = time_weighted(record, name)
    return math.nan if value is None else value
