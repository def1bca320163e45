"""The ledger of a run's groups, on folders written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from group_ledger import Ledger, read_ledger

from fundus_ray.obs.trace import Span, Trace


def write_run(folder: Path, steps: Sequence[Mapping[int, tuple[int, bool]]], trace: Sequence[Span] = ()) -> Path:
    """steps: group -> (rollouts, trainable), one mapping an update."""
    (folder / "rollouts").mkdir()
    for number, groups in enumerate(steps, start=1):
        lines = [
            json.dumps({"group_id": group, "trainable": trainable})
            for group, (rollouts, trainable) in groups.items()
            for _ in range(rollouts)
        ]
        (folder / "rollouts" / f"step-{number:06d}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "metrics.jsonl").write_text("{}\n" * len(steps))
    (folder / "quarantine.jsonl").touch()
    recorded = Trace()
    for span in trace:
        recorded.add(span)
    recorded.write(folder / "trace.json")
    return folder


def test_groups_that_were_trained_or_dropped_once_are_no_problem(tmp_path: Path) -> None:
    trace = [
        Span("generate", 1.0, 2.0, {"worker": "rollout-0", "group": 0}),
        Span("generate", 2.5, 4.0, {"worker": "rollout-1", "group": 0}),
        Span("generate", 2.0, 3.0, {"worker": "rollout-1", "group": 1}),
        Span("score", 4.0, 5.0, {"worker": "reward-0", "group": 0}),
    ]
    ledger = read_ledger(write_run(tmp_path, [{0: (2, True), 1: (2, False)}, {2: (2, True)}], trace), group_size=2)
    assert ledger == Ledger(
        updates=2, trained=2, dropped=1, lost=(), twice=(), torn=(), written_again=1, scored_again=0
    )
    assert ledger.problems == []


def test_groups_of_samples_that_cannot_be_used_are_dropped_and_not_lost(tmp_path: Path) -> None:
    run = write_run(tmp_path, [{0: (2, True), 2: (2, False)}, {4: (2, True)}])
    noted = [json.dumps({"group_id": group, "sample": "s", "reason": "gone"}) for group in (1, 2, 1, 9)]
    (run / "quarantine.jsonl").write_text("".join(f"{line}\n" for line in noted))  # 9 was under way at the end
    ledger = read_ledger(run, group_size=2)
    assert (ledger.trained, ledger.dropped, ledger.lost) == (2, 2, (3,))


def test_lost_doubled_and_torn_groups_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, [{0: (2, True), 2: (1, True)}, {0: (2, True), 4: (2, False)}])
    assert read_ledger(run, group_size=2).problems == [
        "2 groups lost: 1, 3",
        "1 groups taken twice: 0",
        "1 groups torn: 2",
    ]
