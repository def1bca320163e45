"""Throughput over numbers of workers and ratios, and which of them to take.

In: a configuration, service times, the grid. Out: `Cell`s, a `Choice`, and both as a table or as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fundus_ray.config import Config
from fundus_ray.obs.report_table import aligned
from fundus_ray.plan.service import Service
from fundus_ray.plan.simulate import Outcome, simulate_middle

COLUMNS = (
    *("workers", "learner", "ratio", "groups/s", "samples/s", "learner idle", "engines idle", "speed-up", "ceiling"),
    "lag in versions: share",
)
SEQUENCES = 12_000  # to look at in each cell, in about so many steps:
LEAST_STEPS, MOST_STEPS = 4, 40
ENOUGH = 0.95  # of the best throughput: more devices, or staler samples, for the rest are not worth it
BOUND = 0.1  # a side that is idle for less than this share is what the other waits for


@dataclass(frozen=True, slots=True)
class Split:
    """Rollout workers, and devices of the learner (GPUs, or CPU processes)."""

    workers: int
    learners: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid. `speed_up`: over ratio 0 with the same split; `ceiling`: of the stages' times at ratio 0,
    over the same work done one stage after the other. As ratio 0 already overlaps scoring with generation, not all of
    it is left to gain there (obs/step_times.py)."""

    split: Split
    ratio: float
    outcome: Outcome
    speed_up: float
    ceiling: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The recommended cell, and why."""

    cell: Cell
    reasons: tuple[str, ...]


def splits(devices: int, *, a_worker: int) -> list[Split]:
    """Ways to share out devices, a_worker to each rollout worker: sixteenths to the learner, from the fewest on."""
    shares = sorted({max(1, round(devices * sixteenths / 16)) for sixteenths in range(1, 13)})
    return [Split((devices - share) // a_worker, share) for share in shares if devices - share >= a_worker]


def cells(
    config: Config, service: Service, *, grid: Sequence[Split], ratios: Sequence[float], seed: int
) -> Iterator[Cell]:
    """All of the grid, one split after the other. An update on n times as many devices as the configuration gives the
    learner is taken to be n times as fast."""
    base = max(1.0, config.learner.gpus)
    for split in grid:
        scaled = replace(service, update_s=tuple(value * base / split.learners for value in service.update_s))
        serial = _simulate(config, scaled, split=split, ratio=0.0, seed=seed)
        for ratio in ratios:
            outcome = serial if ratio == 0 else _simulate(config, scaled, split=split, ratio=ratio, seed=seed)
            yield Cell(split, ratio, outcome, outcome.groups_per_s / serial.groups_per_s, serial.ceiling)


def choose(found: Sequence[Cell]) -> Choice:
    """Of the cells within 5 % of the best throughput: the fewest devices, then the freshest samples."""
    best = max(found, key=lambda cell: cell.outcome.groups_per_s)
    enough = [cell for cell in found if cell.outcome.groups_per_s >= ENOUGH * best.outcome.groups_per_s]
    total = max(cell.split.workers + cell.split.learners for cell in found)
    by_devices = len({cell.split.learners for cell in found}) == 1  # else every split is of the same devices

    def cost(cell: Cell) -> tuple[float, float, float]:
        return (cell.split.workers if by_devices else total, cell.ratio, -cell.outcome.groups_per_s)

    cell = min(enough, key=cost)
    return Choice(cell, tuple(_reasons(cell, best=best, found=found, split_is_given=not by_devices)))


def _reasons(cell: Cell, *, best: Cell, found: Sequence[Cell], split_is_given: bool) -> Iterator[str]:
    out = cell.outcome
    share = out.groups_per_s / best.outcome.groups_per_s
    if cell is best:
        yield f"{out.groups_per_s:.3g} groups/s is the highest throughput of the grid"
    else:
        yield (
            f"{out.groups_per_s:.3g} groups/s is {share:.0%} of the grid's highest "
            f"({best.outcome.groups_per_s:.3g} with {_named(best)})"
        )
    idle = f"idle shares: learner {out.learner_idle:.0%}, engines {out.generator_idle:.0%}"
    if out.learner_idle < BOUND <= out.generator_idle:
        yield f"the learner is the bottleneck ({idle}): more workers would only wait"
    elif out.generator_idle < BOUND <= out.learner_idle:
        is_last = not split_is_given and cell.split.workers == max(c.split.workers for c in found)
        more = "; this is the largest number of workers asked for: try more" if is_last else ""
        yield f"the engines are the bottleneck ({idle}){more}"
    else:
        in_turn = "wait for each other in turn, or for the slowest responses and scores"
        both = in_turn if out.learner_idle >= BOUND else "are busy"
        yield f"neither side alone is the bottleneck ({idle}): both {both}"
    yield from _reasons_of_ratio(cell, found=found)
    if cell.split.learners > 1:
        yield (
            f"{cell.split.learners} devices for the learner are a calculation: `fundus-ray train` has one learner "
            "process on one device today"
        )


def _reasons_of_ratio(cell: Cell, *, found: Sequence[Cell]) -> Iterator[str]:
    same = sorted((c for c in found if c.split == cell.split), key=lambda c: c.ratio)
    if cell.ratio > 0:
        rest = ", and stragglers that hold up no batch give the rest" if cell.speed_up > cell.ceiling else ""
        bound = math.ceil(cell.ratio)
        yield (
            f"ratio {cell.ratio:g} is {cell.speed_up:.2f}x as fast as ratio 0 with the same workers, where scoring "
            f"already overlaps generation; full overlap is {cell.ceiling:.2f}x as fast as no overlap at all{rest}; "
            f"samples are at most {bound} version{'s' if bound != 1 else ''} old"
        )
    elif len(same) > 1:
        yield "every sample is on-policy"
    larger = [c for c in same if c.ratio > cell.ratio]
    if larger:
        gain = max(c.outcome.groups_per_s for c in larger) / cell.outcome.groups_per_s - 1
        yield f"a larger ratio would add {max(0.0, gain):.0%} and make samples staler"


def _named(cell: Cell) -> str:
    workers = f"{cell.split.workers} worker{'s' if cell.split.workers != 1 else ''}"
    return f"{workers}, ratio {cell.ratio:g}"


def _simulate(config: Config, service: Service, *, split: Split, ratio: float, seed: int) -> Outcome:
    loop, rollout = config.loop, config.rollout
    looked_at = min(MOST_STEPS, max(LEAST_STEPS, SEQUENCES // (loop.groups_per_step * rollout.group_size)))
    point = replace(
        config,
        rollout=replace(rollout, workers=split.workers),
        loop=replace(loop, async_ratio=ratio),
    )
    return simulate_middle(point, service, seed=seed, steps=looked_at)


def as_json(found: Sequence[Cell], choice: Choice) -> dict[str, Any]:
    """The grid and the choice."""
    return {"cells": [_row(cell) for cell in found], "recommended": _row(choice.cell), "reasons": list(choice.reasons)}


def _row(cell: Cell) -> dict[str, Any]:
    out = cell.outcome
    return {
        "workers": cell.split.workers,
        "learner_devices": cell.split.learners,
        "async_ratio": cell.ratio,
        "groups_per_s": out.groups_per_s,
        "samples_per_s": out.samples_per_s,
        "step_s": out.seconds / out.steps,
        "learner_idle": out.learner_idle,
        "generator_idle": out.generator_idle,
        "lags": {str(lag): share for lag, share in out.lags.items()},
        "speed_up": cell.speed_up,
        "ceiling": cell.ceiling,
        "stage_s": out.stage_s,
        "steps_simulated": out.steps,
    }


def as_table(found: Sequence[Cell]) -> str:
    """Aligned columns for a terminal."""
    rows = [COLUMNS]
    for cell in found:
        out = cell.outcome
        rows.append(
            (
                f"{cell.split.workers}",
                f"{cell.split.learners}",
                f"{cell.ratio:g}",
                f"{out.groups_per_s:.4g}",
                f"{out.samples_per_s:.4g}",
                f"{out.learner_idle:.0%}",
                f"{out.generator_idle:.0%}",
                f"{cell.speed_up:.2f}",
                f"{cell.ceiling:.2f}",
                ", ".join(f"{lag}: {share:.0%}" for lag, share in out.lags.items()),
            )
        )
    return aligned(rows)
