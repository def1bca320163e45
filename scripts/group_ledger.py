"""What became of every group of a run, from what it wrote: each must have been trained or dropped once.

In: a run folder. Out: `Ledger`. A run numbers its groups from 0 and takes them in order, so an id that is missing below
the largest one was lost, unless its sample could not be used (quarantine.jsonl). A group was written again where its
trace holds more than one span `generate` of it, and scored again likewise; that is what is meant to happen to what a
dead worker had under way.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ledger:
    """Groups by what became of them; `lost`, `twice` and `torn` (not all rollouts there) should be empty."""

    updates: int
    trained: int
    dropped: int
    lost: tuple[int, ...]
    twice: tuple[int, ...]
    torn: tuple[int, ...]
    written_again: int
    scored_again: int

    @property
    def problems(self) -> list[str]:
        """One line each."""
        kinds = {"lost": self.lost, "taken twice": self.twice, "torn": self.torn}
        return [f"{len(ids)} groups {kind}: {', '.join(map(str, ids[:10]))}" for kind, ids in kinds.items() if ids]


def read_ledger(run_dir: Path, *, group_size: int) -> Ledger:
    """Of a run that has ended, also one that was resumed."""
    taken: Counter[int] = Counter()
    trained: set[int] = set()
    torn = []
    for file in sorted((run_dir / "rollouts").glob("step-*.jsonl")):
        rollouts: Counter[int] = Counter()
        for text in file.read_text().splitlines():
            line = json.loads(text)
            rollouts[line["group_id"]] += 1
            if line["trainable"]:
                trained.add(line["group_id"])
        taken.update(rollouts.keys())
        torn += [group for group, count in rollouts.items() if count != group_size]
    quarantine = run_dir / "quarantine.jsonl"
    left_out = {json.loads(text)["group_id"] for text in quarantine.read_text().splitlines()} - set(taken)
    known = {*taken, *(group for group in left_out if group < max(taken, default=0))}
    return Ledger(
        updates=len((run_dir / "metrics.jsonl").read_text().splitlines()),
        trained=len(trained),
        dropped=len(known) - len(trained),
        lost=tuple(sorted(set(range(max(taken, default=-1) + 1)) - known)),
        twice=tuple(sorted(group for group, count in taken.items() if count > 1)),
        torn=tuple(sorted(torn)),
        written_again=_again(run_dir, "generate"),
        scored_again=_again(run_dir, "score"),
    )


def _again(run_dir: Path, name: str) -> int:
    """Groups with more than one span of this name in one process of the run."""
    again = 0
    for file in run_dir.glob("trace*.json"):
        events = json.loads(file.read_text())["traceEvents"]
        counts = Counter(event["args"].get("group") for event in events if event["name"] == name)
        again += sum(count > 1 for count in counts.values())
    return again
