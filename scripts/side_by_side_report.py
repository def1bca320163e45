"""The comparison with TRL as tables. In: each run's figures. Out: Markdown.

An update's time is from the end of one to the end of the next. The first ones are left out, where caches are cold and
an asynchronous run has no update's worth of work ahead yet; so is the last, before which nothing is written ahead any
more. Rates are rollouts over seconds, not medians over updates, as short and long updates alternate where the halves
run at the same time. Then medians over repeats. No network library.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from side_by_side_work import GROUP, WORKLOADS

from fundus_ray.errors import DataError
from fundus_ray.evaluate.metrics import Z_95
from fundus_ray.obs.report_table import table

FIRST_LEFT_OUT, LAST_LEFT_OUT = 2, 1
REWARD_UPDATES = 5  # at each end of a run that its reward is a mean over
T = TypeVar("T")
TRL = "TRL"
TARGETS = {"short": 1.3, "long": 2.5}
REPEATS = 3  # of a whole comparison


@dataclass(frozen=True, slots=True)
class Figures:
    """One run; a list has an entry an update. Seconds of generation may overlap those of training."""

    update_s: Sequence[float]
    generate_s: Sequence[float]
    score_s: Sequence[float]
    train_s: Sequence[float]
    tokens: Sequence[Sequence[int]]  # of each rollout
    cut: Sequence[int]  # rollouts that ended at the longest length
    rewards: Sequence[Sequence[float]]  # of each rollout, groups together, groups in the order in which they were asked
    held_out: Sequence[bool]  # in the order of the samples; empty where none was read
    peak_mib: float
    commit: str  # in words

    @property
    def samples_per_s(self) -> float:
        """Rollouts of the updates that count over their seconds."""
        return sum(map(len, counted(self.tokens))) / sum(counted(self.update_s))

    @property
    def whole_samples_per_s(self) -> float:
        """All rollouts over all the time, the updates at both ends included."""
        return sum(map(len, self.tokens)) / sum(self.update_s)

    def tokens_per_s(self, seconds: Sequence[float]) -> float:
        """Completion tokens over the seconds of one half."""
        return sum(map(sum, counted(self.tokens))) / sum(counted(seconds))

    def reward(self, first: bool) -> float:
        """Mean of the rollouts of the first or the last updates."""
        updates = self.rewards[:REWARD_UPDATES] if first else self.rewards[-REWARD_UPDATES:]
        return statistics.fmean(total for update in updates for total in update)


def counted(updates: Sequence[T]) -> Sequence[T]:
    """Those that count. Raises ValueError where none does."""
    kept = updates[FIRST_LEFT_OUT : len(updates) - LAST_LEFT_OUT]
    if not kept:
        raise ValueError(f"{len(updates)} updates leave none to count; ask for {FIRST_LEFT_OUT + LAST_LEFT_OUT + 1}")
    return kept


def report(workload: str, runs: Mapping[str, Sequence[Figures]], *, notes: str) -> str:
    """One workload: speed, lengths, rewards. `runs`: side -> repeats; the side `TRL` among them."""
    parts = [
        f"**{workload}**: {_extent(workload, runs)}. {notes}",
        table(
            (
                "side",
                "samples/s",
                "ratio to TRL",
                "samples/s, whole run",
                "median update s",
                "generation: tokens/s",
                "s an update",
                "training: tokens/s",
                "s an update",
                "reward s",
                "peak MiB",
            ),
            [_speed(side, repeats, trl=runs[TRL]) for side, repeats in runs.items()],
        ),
        table(
            ("side", "tokens: mean", "p10", "p50", "p90", "p99", "cut off", "reward, first", "reward, last"),
            [_content(side, repeats) for side, repeats in runs.items()],
        ),
        *(line for side, repeats in runs.items() if side != TRL for line in _differences(side, repeats, trl=runs[TRL])),
        "These intervals are over prompts, or held-out samples, alone: every run of ours has run.seed=0, so that its "
        "repeats follow nearly one trajectory; TRL's seed is the number of the repeat.",
        _verdict(workload, runs),
    ]
    return "\n\n".join(part for part in parts if part)


def _extent(workload: str, runs: Mapping[str, Sequence[Figures]]) -> str:
    """What was run: how much of the whole comparison, and at which commits."""
    one, n = runs[TRL][0], len(runs[TRL])
    updates, whole = len(one.update_s), WORKLOADS[workload].updates
    commits = sorted({run.commit for repeats in runs.values() for run in repeats})
    return (
        f"{updates} updates of {len(one.tokens[0])} rollouts{_part_of(updates, whole)}, {len(counted(one.update_s))} "
        f"of them counted; {n} run{'s' if n > 1 else ''} of each side{_part_of(n, REPEATS)}, medians over runs; "
        f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"
    )


def _part_of(ran: int, whole: int) -> str:
    return f" (a whole comparison has {whole})" if ran < whole else ""


def _speed(side: str, repeats: Sequence[Figures], *, trl: Sequence[Figures]) -> tuple[str, ...]:
    rate = statistics.median(r.samples_per_s for r in repeats)
    return (
        side,
        f"{rate:.1f}",
        f"{rate / statistics.median(r.samples_per_s for r in trl):.2f}",
        f"{statistics.median(r.whole_samples_per_s for r in repeats):.1f}",
        f"{statistics.median(statistics.median(counted(r.update_s)) for r in repeats):.2f}",
        f"{statistics.median(r.tokens_per_s(r.generate_s) for r in repeats):,.0f}",
        f"{statistics.median(statistics.median(counted(r.generate_s)) for r in repeats):.2f}",
        f"{statistics.median(r.tokens_per_s(r.train_s) for r in repeats):,.0f}",
        f"{statistics.median(statistics.median(counted(r.train_s)) for r in repeats):.2f}",
        f"{statistics.median(statistics.median(counted(r.score_s)) for r in repeats):.2f}",
        f"{statistics.median(r.peak_mib for r in repeats):,.0f}",
    )


def _content(side: str, repeats: Sequence[Figures]) -> tuple[str, ...]:
    lengths = [tokens for r in repeats for update in r.tokens for tokens in update]
    points = np.percentile(lengths, [10, 50, 90, 99])
    cut = sum(sum(r.cut) for r in repeats) / len(lengths)
    return (
        side,
        f"{statistics.fmean(lengths):.1f}",
        *(f"{point:.0f}" for point in points),
        f"{cut:.1%}",
        f"{statistics.fmean(r.reward(first=True) for r in repeats):.3f}",
        f"{statistics.fmean(r.reward(first=False) for r in repeats):.3f}",
    )


def _differences(side: str, repeats: Sequence[Figures], *, trl: Sequence[Figures]) -> list[str]:
    """Reward of the last updates by prompt, both sides having had the same prompts; held-out answers by sample."""
    lines = [
        f"{side} - TRL, reward of the last {REWARD_UPDATES} updates, by prompt: {paired(_last(repeats), _last(trl))}."
    ]
    if repeats[0].held_out and trl[0].held_out:
        a, b = ([statistics.fmean(own) for own in zip(*(r.held_out for r in s), strict=True)] for s in (repeats, trl))
        shown = f"{statistics.fmean(a):.3f} and {statistics.fmean(b):.3f}"
        lines.append(f"{side} and TRL, held-out accuracy (n = {len(a)}): {shown}, difference {paired(a, b)}.")
    return lines


def _last(repeats: Sequence[Figures]) -> list[float]:
    """Mean reward of each prompt of the last updates, over its rollouts and the repeats."""
    flat = [[total for update in r.rewards[-REWARD_UPDATES:] for total in update] for r in repeats]
    return [float(x) for x in np.array(flat).reshape(len(repeats), -1, GROUP).mean(axis=(0, 2))]


def paired(a: Sequence[float], b: Sequence[float]) -> str:
    """Mean of a - b with its 95 % interval over the pairs."""
    steps = [x - y for x, y in zip(a, b, strict=True)]
    mean = statistics.fmean(steps)
    half = Z_95 * statistics.stdev(steps) / math.sqrt(len(steps))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _verdict(workload: str, runs: Mapping[str, Sequence[Figures]]) -> str:
    rates = {side: statistics.median(r.samples_per_s for r in repeats) for side, repeats in runs.items()}
    best = max((rates[side] / rates[TRL], side) for side in runs if side != TRL)
    met = "reached" if best[0] >= TARGETS[workload] else "missed"
    return f"Target {TARGETS[workload]} times TRL's samples/s: {met} ({best[1]}, {best[0]:.2f})."


def keep(folder: Path, workload: str, runs: Mapping[str, Sequence[Figures]], *, notes: str) -> None:
    """Write what `report` takes, for `kept`."""
    sides = {side: [asdict(run) for run in repeats] for side, repeats in runs.items()}
    _place(folder, workload).write_text(json.dumps({"notes": notes, "runs": sides}))


def kept(folder: Path, workload: str) -> tuple[dict[str, list[Figures]], str]:
    """Runs and notes of the last comparison of all sides. Raises DataError where there is none."""
    place = _place(folder, workload)
    if not place.is_file():
        raise DataError(f"{place} is missing: no comparison of the workload {workload} has come to its end there")
    read: dict[str, Any] = json.loads(place.read_text())
    return {side: [Figures(**run) for run in repeats] for side, repeats in read["runs"].items()}, read["notes"]


def _place(folder: Path, workload: str) -> Path:
    return folder / f"{workload}.json"
