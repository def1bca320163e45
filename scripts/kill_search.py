"""Two short training runs whose search server is killed in the middle, and what became of their groups, as a table.

    python scripts/kill_search.py [--out DIR] [section.key=value ...]

In the first run the server stays away (reward.outage=mask: training goes on without what needs the search), in the
second it comes back after some seconds (reward.outage=drop). A rollout is a zero because of the outage where it was
trained on with a total of 0, though scored again with the embedded store, which was never down, it has more than 0 in
the parts that were not masked; it is paid less where its total is below what those parts give, as it would be if a part
that nobody could score counted as 0. The server is that of the tests (package noida-db). Ends with exit code 1 where
there is such a rollout or a run did not end well.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_server import Server

from fundus_ray.audit.lines import read_groups
from fundus_ray.audit.rescore import rescore
from fundus_ray.config import Config, load
from fundus_ray.errors import FundusRayError
from fundus_ray.obs.report_table import table
from fundus_ray.pipeline import run

RECIPE = Path(__file__).parents[1] / "configs" / "simulated.yaml"
SHORT = (
    "data.train_samples=256",
    "data.eval_samples=8",
    "sft.steps=150",
    "sft.vision_warmup_steps=50",
    "loop.steps=6",
    "loop.groups_per_step=4",
    "rollout.group_size=4",
    "evaluate.samples=0",
    "evaluate.photo=false",
    "reward.knowledge=0.2",
    "reward.timeout_s=150",
    "reward.hold_s=5",
    "knowledge.store=elasticsearch",
    "knowledge.timeout_s=120",
    "knowledge.retries=0",
)
KILLED_AFTER, DOWN_S = 2, 20.0  # updates; seconds
SAME = 1e-6  # of a total: both stores give BM25 scores equal within that
WAIT_S = 1800.0  # for the updates before the kill


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run."""

    name: str
    updates: str  # done of planned
    groups: Counter[str]
    rollouts: int
    zeros: int
    less: int
    problem: str  # "" where it ended well


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/kill-search"), help="holds the runs (default %(default)s)"
    )
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            server.wait()
            results = []
            for name, outage, comes_back in (("stays-away", "mask", False), ("comes-back", "drop", True)):
                own = [
                    f"run.name={name}",
                    f"run.dir={args.out}",
                    f"knowledge.url={server.url}",
                    f"reward.outage={outage}",
                ]
                config = load(RECIPE, [*SHORT, *own, *args.overrides])
                results.append(one_run(config, server, comes_back=comes_back))
                if not comes_back:
                    server.start()
                    server.wait()
        finally:
            server.stop()
    print(report(results))
    return int(any(result.zeros or result.less or result.problem for result in results))


def one_run(config: Config, server: Server, *, comes_back: bool) -> Result:
    """The run, with the server killed after some updates."""
    parent, before = Path(config.run.dir), set(Path(config.run.dir).glob("*/metrics.jsonl"))
    done = threading.Event()

    def new_steps() -> int:
        files = set(parent.glob("*/metrics.jsonl")) - before
        return sum(len(file.read_text().splitlines()) for file in files)

    def kill() -> None:
        if not until(lambda: new_steps() >= KILLED_AFTER, done):
            return
        server.wait_until_saved(config.knowledge.index)
        server.stop()
        print("== the search server is killed", flush=True)
        if comes_back and not done.wait(DOWN_S):
            server.start()
            print("== the search server is started again", flush=True)

    killer = threading.Thread(target=kill)
    killer.start()
    problem, folder = "", None
    try:
        folder = run(config)
    except FundusRayError as err:
        problem = str(err)
        folder = (parent / "latest").resolve()
    finally:
        done.set()
        killer.join()
    return judged(folder, config, problem=problem)


def judged(folder: Path, config: Config, *, problem: str) -> Result:
    """Count the run's groups, and score its rollouts again with a store that was never down."""
    groups = read_groups(folder / "rollouts")
    counts: Counter[str] = Counter()
    for group in groups:
        line = group.lines[0].fields
        counts["held"] += line["held_s"] > 0
        counts[{"mask": "masked", "drop": "dropped", "": "scored"}[line["outage"]]] += 1
    settings = [f"run.dir={config.run.dir}", f"reward.knowledge={config.reward.knowledge}"]
    result = rescore(load(RECIPE, settings), groups)
    trained = [(old, new) for old, new in zip(result.old, result.new, strict=True) if old["trainable"]]
    steps = len((folder / "metrics.jsonl").read_text().splitlines())
    if not problem and steps < config.loop.steps:
        problem = "fewer updates than planned"
    return Result(
        name=folder.name,
        updates=f"{steps} of {config.loop.steps}",
        groups=counts,
        rollouts=len(trained),
        zeros=sum(old["total"] == 0 < _owed(old, new, config) for old, new in trained),
        less=sum(old["total"] < _owed(old, new, config) - SAME for old, new in trained),
        problem=problem,
    )


def _owed(old: dict[str, Any], new: dict[str, Any], config: Config) -> float:
    """The total by the parts of the store that was never down, of those parts that were not masked."""
    if old["status"] == "unscorable":
        return math.inf  # a number that means nothing was trained on
    if new["status"] != "scored":
        return 0.0
    counted = [part for part, value in old["parts"].items() if value is not None and getattr(config.reward, part)]
    weight = sum(getattr(config.reward, part) for part in counted)
    return float(sum(getattr(config.reward, part) * (new["parts"][part] or 0.0) for part in counted) / weight)


def report(results: Sequence[Result]) -> str:
    """One row a run."""
    kinds = ("scored", "held", "masked", "dropped")
    rows = [
        (r.name, r.updates, *(r.groups[kind] for kind in kinds), r.rollouts, r.zeros, r.less, r.problem or "well")
        for r in results
    ]
    groups = (f"groups {kind}" for kind in kinds)
    header = ("run", "updates", *groups, "rollouts trained", "zeros by outage", "paid less by it", "ended")
    note = f"Killed after {KILLED_AFTER} updates; second run: back after {DOWN_S:g} s. Cores: {os.cpu_count()}."
    return f"\n{table(header, rows)}\n\n{note}"


def until(condition: Callable[[], bool], stop: threading.Event) -> bool:
    """Whether the condition came to hold before the run ended, or WAIT_S were over."""
    limit = time.monotonic() + WAIT_S
    while not stop.wait(0.5) and time.monotonic() < limit:
        if condition():
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
