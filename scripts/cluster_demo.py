"""Three Ray nodes with addresses of their own on one machine; one is cut off and one is killed while a job trains.

    sudo .venv/bin/python scripts/cluster_demo.py [--out DIR] [section.key=value ...]

The nodes are network namespaces (namespaces.py): the head with driver and learner, and two others with an engine and a
reward actor each. Tokens are on. The job is sent by `ray job submit` from a fourth namespace. In the middle of training
node 3 is cut off: its link is down, its processes live. Some updates after Ray has seen that, the link is mended and
Ray is started there again. Then all processes of node 2 are killed, and it comes back likewise. Printed is what became
of the run's groups, by what the run itself wrote down. Ends with exit code 1 where a group was lost or taken twice, or
the run did not end well.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from group_ledger import Ledger, read_ledger
from namespace_cluster import ENDED, Cluster, DemoError, cluster_of, until
from namespaces import LanError, Machine

from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError
from fundus_ray.obs.report_table import table
from fundus_ray.obs.strict_json import read_lines

RECIPE = Path(__file__).parents[1] / "configs" / "simulated.yaml"
JOB = "cluster-demo"
# What fits where, with the settings below: the learner on the head, an engine and a reward actor on each other node.
CPUS = (2, 4, 4)
SETTINGS = (
    "run.name=cluster-demo",
    "data.train_samples=256",
    "data.eval_samples=8",
    "sft.steps=10",
    "sft.bf16=false",
    "sft.vision_warmup_steps=5",
    "loop.steps=600",
    "loop.groups_per_step=3",
    "loop.checkpoint_every=50",
    "evaluate.samples=0",
    "evaluate.photo=false",
    "rollout.workers=2",
    "rollout.cpus=3",
    "rollout.group_size=4",
    "rollout.restarts=12",
    "learner.cpus=2",
    "reward.workers=2",
    "reward.cpus=0.5",
    "reward.restarts=12",
    "ray.address=auto",
)
HARM_AFTER, GO_ON = 15, 10  # updates before the first fault; between a fault and the node's return
UPDATES_S, NOTICE_S, END_S = 600.0, 180.0, 1800.0  # longest waits
IN_FLIGHT = 3  # updates after a moment may still take groups that were written before it


@dataclass(frozen=True, slots=True)
class Harm:
    """What was done to a node. Times are seconds since the epoch."""

    what: str
    node: int
    at: float
    noticed: float  # Ray takes the node for dead
    back: float  # the node has joined again


def main() -> int:
    """Bring up, run, print, judge, tear down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/cluster-demo"), help="holds the run (default %(default)s)"
    )
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # else nothing would be removed
    settings = [*SETTINGS, f"run.dir={args.out.resolve()}", *args.overrides]
    try:
        config = load(RECIPE, settings)
        with cluster_of(CPUS, logs=args.out.resolve()) as cluster:
            say(f"nodes up: {', '.join(sorted(cluster.alive() or ()))}")
            run = Run(cluster, config, settings)
            harms = do_harm(run)
        ledger = read_ledger(run.folder, group_size=config.rollout.group_size)
        faults = list(read_lines(run.folder / "faults.jsonl"))
        print(report(ledger, harms, faults=faults, times=run.times()))
    except (DemoError, LanError, ConfigError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    problems = ledger.problems
    if ledger.updates != config.loop.steps:
        problems.append(f"{ledger.updates} updates of {config.loop.steps}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return int(bool(problems))


def do_harm(run: Run) -> list[Harm]:
    """Do it while the job trains, and wait for the job's end."""
    try:
        run.wait_for_updates(HARM_AFTER)
        harms = [run.harm(3, "cut off", Machine.cut), run.harm(2, "killed", Machine.kill_all)]
        until(lambda: run.state() in ENDED, limit_s=END_S, what="the job ends")
        if run.state() != "SUCCEEDED":
            raise DemoError(f"the job ended as {run.state()}")
    except DemoError:
        print(run.last_words(), file=sys.stderr)
        raise
    return harms


class Run:
    """The job as it goes."""

    def __init__(self, cluster: Cluster, config: Config, settings: Sequence[str]) -> None:
        """Send it."""
        self._cluster = cluster
        self._parent = Path(config.run.dir)
        self._before = set(self._parent.glob("*/metrics.jsonl"))
        train = (sys.executable, "-m", "fundus_ray.cli", "train", "--config", str(RECIPE), *settings)
        cluster.submit(JOB, train)
        say(f"job {JOB} was sent from {cluster.machines[-1].address}")

    @property
    def folder(self) -> Path:
        """The run folder. Raises DemoError while the job has made none."""
        new = {file.parent for file in self._parent.glob("*/metrics.jsonl") if not file.parent.is_symlink()}
        new -= {file.parent for file in self._before}
        if len(new) != 1:
            raise DemoError(f"{len(new)} new run folders in {self._parent}")
        return new.pop()

    def times(self) -> list[float]:
        """When each update so far was done, seconds since the epoch; empty before the run has a folder."""
        try:
            return [float(line["time"]) for line in read_lines(self.folder / "metrics.jsonl")]
        except DemoError:
            return []

    def state(self) -> str:
        """Ray's word for how the job is."""
        return self._cluster.job_state(JOB)

    def goes_on(self) -> None:
        """Raises DemoError where it does not."""
        if (state := self.state()) in ENDED:
            raise DemoError(f"the job ended as {state} after {len(self.times())} updates")

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._cluster.job_log(JOB).splitlines()[-25:])

    def wait_for_updates(self, count: int) -> None:
        """In all."""
        until(lambda: len(self.times()) >= count, limit_s=UPDATES_S, what=f"update {count}", check=self.goes_on)

    def engines_since(self, update: int) -> int:
        """How many engines wrote what was trained on since."""
        files = sorted((self.folder / "rollouts").glob("step-*.jsonl"))[update + IN_FLIGHT :]
        return len({line["worker"] for file in files for line in read_lines(file)})

    def harm(self, node: int, what: str, do: Callable[[Machine], None]) -> Harm:
        """Do it; when Ray has seen it and training has gone on, bring the node back and wait until it does its part."""
        cluster, machine = self._cluster, self._cluster.machine(node)
        at = time.time()
        do(machine)
        say(f"node {node} is {what} after update {len(self.times())}")
        until(lambda: cluster.misses(node), limit_s=NOTICE_S, what="Ray notices", check=self.goes_on)
        noticed = time.time()
        say(f"noticed after {noticed - at:.1f} s, at update {len(self.times())}")
        self.wait_for_updates(len(self.times()) + GO_ON)
        machine.mend()
        # A node that was given up ends by itself once it can be told; a service manager would then start it again.
        until(lambda: cluster.ended(node), limit_s=NOTICE_S, what=f"Ray on node {node} ends")
        machine.kill_all()
        cluster.start(node)
        cluster.wait_until_up(node)
        back, updates = time.time(), len(self.times())
        say(f"node {node} is back, at update {updates}")
        until(lambda: self.engines_since(updates) == 2, limit_s=UPDATES_S, what="its engine works", check=self.goes_on)
        say(f"both engines write, at update {len(self.times())}")
        return Harm(what, node, at=at, noticed=noticed, back=back)


def longest_pause(times: Sequence[float], *, start: float, end: float) -> float:
    """Longest time between two updates of which the first ends before `end` and the second after `start` [s]."""
    return max((b - a for a, b in itertools.pairwise(times) if b >= start and a <= end), default=0.0)


def report(
    ledger: Ledger, harms: Sequence[Harm], *, faults: Sequence[Mapping[str, Any]], times: Sequence[float]
) -> str:
    """What happened to the nodes, and what became of the groups. faults: the run's own records (obs/faults.py)."""
    rows = []
    for harm, end in zip(harms, [*(h.at for h in harms[1:]), math.inf], strict=True):
        own = [fault for fault in faults if harm.at <= fault["time"] < end]
        rows.append(
            (
                f"node {harm.node} {harm.what}",
                f"{harm.noticed - harm.at:.1f}",
                f"{min((fault['time'] for fault in own), default=math.nan) - harm.at:.1f}",
                f"{longest_pause(times, start=harm.at, end=harm.back):.1f}",
                f"{harm.back - harm.at:.1f}",
                sum(len(fault["requeued"]) for fault in own),
                ", ".join(_recovered(fault, harm) for fault in own) or "-",
            )
        )
    seconds = ("noticed by Ray after s", "by the run", "longest s without an update", "node back after s")
    what = table(("fault", *seconds, "groups requeued", "workers at work again, s after the fault"), rows)
    groups = ("updates", "groups trained", "dropped", "written again", "scored again", "lost", "trained twice")
    counts = (ledger.updates, ledger.trained, ledger.dropped, ledger.written_again, ledger.scored_again)
    amounts = table(groups, [(*counts, len(ledger.lost), len(ledger.twice))])
    return f"\n{what}\n\n{amounts}\n\nCores: {os.cpu_count()}."


def _recovered(fault: Mapping[str, Any], harm: Harm) -> str:
    if fault["recover_s"] is None:
        return f"{fault['worker']} died again"
    return f"{fault['worker']} {fault['time'] + fault['recover_s'] - harm.at:.1f}"


def say(text: str) -> None:
    """To whoever watches."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
