"""A real training run whose parts are killed and frozen at random, and what became of its groups, as a table.

    python scripts/chaos.py [--kills 30] [--seed 7] [--kinds engine,freeze,...] [--out DIR] [section.key=value ...]

Tiny policy, rendered eyes, two engines, two reward actors, one learner, and a search server that speaks the
Elasticsearch API (package noida-db). The run is a process of its own, as a user starts it; faults come from outside, as
an operating system's do:

    engine   SIGKILL of an engine's actor, or of vLLM's process inside it
    freeze   SIGSTOP of either: it is there, and answers nothing more
    reward   SIGKILL of a reward actor
    learner  SIGKILL of the learner
    search   SIGKILL of the search server, which is started again after some seconds

The next fault comes some seconds after the last one is mended; after the last the run is told to stop (SIGTERM). Which
fault comes when, and to whom first, is drawn from the seed, which is printed; an engine is hit while it writes, if one
does within 30 s. Ends with exit code 1 where a group was lost, trained twice, or written by a version that was taken
back, where an engine wrote before it had proven its version, where a fault was not mended, or where the run did not end
well.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from group_ledger import Ledger, read_ledger
from search_server import Server

from fundus_ray.config import load
from fundus_ray.obs.report_table import table

RECIPE = Path(__file__).parents[1] / "configs" / "simulated.yaml"
KINDS = ("engine", "freeze", "reward", "learner", "search")
SETTINGS = (
    "data.train_samples=256",
    "data.eval_samples=8",
    "sft.steps=150",
    "sft.vision_warmup_steps=50",
    "loop.steps=100000",
    "loop.groups_per_step=4",
    "loop.checkpoint_every=5",
    "rollout.workers=2",
    "rollout.cpus=0.5",
    "rollout.group_size=4",
    "rollout.restarts=1000",
    "rollout.hang_s=20",
    "reward.workers=2",
    "reward.restarts=1000",
    "reward.knowledge=0.2",
    "reward.timeout_s=150",
    "reward.hold_s=60",
    "learner.restarts=1000",
    "knowledge.store=elasticsearch",
    "knowledge.timeout_s=120",  # noida-db scans every passage for every word
    "evaluate.samples=0",
    "evaluate.photo=false",
)
VICTIMS = {"engine": "ray::RolloutWorker", "freeze": "ray::RolloutWorker", "reward": "ray::RewardWorker"}
VICTIMS |= {"learner": "ray::LearnerRank"}
ROLES = {"engine": "engine", "freeze": "engine", "reward": "reward", "learner": "learner"}  # as in faults.jsonl
CORE = "VLLM::EngineCore"  # vLLM's own process, a child of the engine's actor
START_S, MEND_S, STOP_S = 900.0, 300.0, 300.0  # longest wait for the first update, a recovery, the end
WRITE_S, BUSY = 30.0, 40.0  # longest wait until an engine writes [s]; percent of a core that one needs for it
PAUSE_S, DOWN_S = (1.0, 8.0), (2.0, 10.0)  # between two faults; of the search server


@dataclass(frozen=True, slots=True)
class Done:
    """One fault, and how long it took until all was as before."""

    kind: str
    victim: str
    requeued: int
    recover_s: float | None  # None: not within MEND_S


class Run:
    """A training process, seen from outside."""

    def __init__(self, out: Path, settings: Sequence[str]) -> None:
        self._before = _latest(out)
        self._out = out
        self.log = out / "chaos.log"
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fundus_ray.cli", "train", "--config", str(RECIPE), *settings]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def made_none(self) -> bool:
        """Whether it has no folder yet."""
        return _latest(self._out) in (None, self._before)

    @property
    def folder(self) -> Path:
        """Of this run, once it has one."""
        folder = _latest(self._out)
        if folder is None or self.made_none:
            raise FileNotFoundError("the run has made no folder yet")
        return folder

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Of a JSONL file in its folder; a line that is still being written is left out."""
        try:
            text = (self.folder / name).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def until(self, condition: Callable[[], Any], *, limit_s: float) -> Any:
        """What the condition gives, once it is true; None where it is not within the limit, or the run has ended."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.process.poll() is None:
            if found := condition():
                return found
            time.sleep(0.25)
        return None

    def victims(self, title: str) -> list[psutil.Process]:
        """Processes of this title among the run's own, oldest first."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith(title) and process.status() != psutil.STATUS_STOPPED:
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.create_time())

    def stop(self) -> int:
        """Ask it to stop in order, and wait. Returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(STOP_S)


def main() -> int:
    """Run, kill, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="faults (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of which fault hits whom when (default %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="faults to draw from (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/chaos"), help="holds the runs (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    kinds = args.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: {', '.join(sorted(unknown))} is none of {', '.join(KINDS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what it has started ends with it
    print(f"seed {args.seed}, {args.kills} faults of {', '.join(kinds)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            server.wait()
            settings = [*SETTINGS, f"run.dir={args.out}", f"knowledge.url={server.url}", *args.overrides]
            config = load(RECIPE, settings)
            run = Run(args.out, settings)
            began = time.monotonic()
            try:
                done = torment(run, server, index=config.knowledge.index, args=args, kinds=kinds)
            finally:
                status = run.stop()
        finally:
            server.stop()
    problems = [f"the run ended with status {status}; see {run.log}"] * (status != 0)
    if run.made_none:
        print(f"PROBLEM: the run ended with status {status} before it had a folder; see {run.log}")
        return 1
    problems += [f"not mended in {MEND_S:g} s: {fault.kind}, {fault.victim}" for fault in done if not fault.recover_s]
    problems += [f"{args.kills - len(done)} of {args.kills} faults were not made"] * (len(done) < args.kills)
    ledger = read_ledger(run.folder, group_size=config.rollout.group_size)
    problems += [*ledger.problems, *version_problems(run.folder)]
    print(report(done, ledger, run.folder, seconds=time.monotonic() - began))
    print("\n".join(f"PROBLEM: {problem}" for problem in problems) or "All invariants hold.")
    return int(bool(problems))


def torment(run: Run, server: Server, *, index: str, args: argparse.Namespace, kinds: Sequence[str]) -> list[Done]:
    """Make the faults one after the other, from the first update on. Fewer where the run ends."""
    chance = random.Random(args.seed)
    # Every kind as often as the others, as far as the number allows, in a random order.
    plan = [kinds[i % len(kinds)] for i in range(args.kills)]
    chance.shuffle(plan)
    if not run.until(lambda: run.lines("metrics.jsonl"), limit_s=START_S):
        return []
    server.wait_until_saved(index)
    done: list[Done] = []
    for kind in plan:
        time.sleep(chance.uniform(*PAUSE_S))
        fault = one_fault(run, server, kind, chance=chance)
        if fault is None:
            break
        done.append(fault)
        took = "not mended" if fault.recover_s is None else f"mended after {fault.recover_s:.1f} s"
        print(f"== {len(done)} of {args.kills}: {kind}, {fault.victim}: {took}", flush=True)
        if fault.recover_s is None:
            break
    return done


def one_fault(run: Run, server: Server, kind: str, *, chance: random.Random) -> Done | None:
    """Make it, and wait until it is mended; None where the run has ended."""
    made = time.time()
    if kind == "search":
        server.stop()
        time.sleep(chance.uniform(*DOWN_S))
        server.start()
        server.wait()
        back = time.time()
        found = run.until(lambda: _update_after(run, back), limit_s=MEND_S)
        return _done(run, kind, "server", made, ended=found)
    victims = run.until(lambda: run.victims(VICTIMS[kind]), limit_s=MEND_S)
    if victims is None:
        return None
    victim = chance.choice(victims)
    if VICTIMS[kind] == "ray::RolloutWorker":
        victim = caught_writing([victim, *(one for one in victims if one != victim)]) or victim
        if chance.random() < 0.5:
            victim = core_of(victim) or victim
    title = " ".join(victim.cmdline()).split(" ")[0]
    known = len(_mended(run, kind))
    made = time.time()
    victim.send_signal(signal.SIGSTOP if kind == "freeze" else signal.SIGKILL)
    found = run.until(lambda: _mended(run, kind)[known:], limit_s=MEND_S)
    if found is None:
        return _done(run, kind, title, made, ended=None)
    (fault, *_) = found
    return Done(kind, f"{fault['worker']} {title}", len(fault["requeued"]), fault["time"] + fault["recover_s"] - made)


def core_of(actor: psutil.Process) -> psutil.Process | None:
    """vLLM's own process of an engine's actor."""
    children = actor.children(recursive=True)
    return next((child for child in children if " ".join(child.cmdline()).startswith(CORE)), None)


def caught_writing(actors: Sequence[psutil.Process]) -> psutil.Process | None:
    """The first engine whose own process computes, which it does while it writes; None where none does in WRITE_S.

    Engines wait most of the time for the search server's scores, and one that waits has no group to lose.
    """
    cores = [(actor, core) for actor in actors if (core := core_of(actor)) is not None]
    end = time.monotonic() + WRITE_S
    while time.monotonic() < end:
        for actor, core in cores:
            try:
                if core.cpu_percent(interval=0.1) > BUSY:
                    return actor
            except psutil.Error:
                continue
    return None


def _done(run: Run, kind: str, victim: str, made: float, *, ended: float | None) -> Done | None:
    if run.process.poll() is not None:
        return None
    return Done(kind, victim, 0, None if ended is None else ended - made)


def _mended(run: Run, kind: str) -> list[dict[str, Any]]:
    """Faults of that kind of worker after which it took work again."""
    faults = run.lines("faults.jsonl")
    return [fault for fault in faults if fault["role"] == ROLES[kind] and fault["recover_s"] is not None]


def _update_after(run: Run, when: float) -> float | None:
    """When the first update after that moment was logged."""
    return next((line["time"] for line in run.lines("metrics.jsonl") if line["time"] > when), None)


def version_problems(run_dir: Path) -> list[str]:
    """Trained groups of a version that another took the place of, and engines that wrote before they had proven theirs.

    A learner that went back to a checkpoint makes the versions after it anew, and they are delivered anew: the last
    delivery of a number says which version counts.
    """
    live = {span["step"]: span["sha256"] for span in spans(run_dir, "deliver")}
    taken_back = set()
    for file in (run_dir / "rollouts").glob("step-*.jsonl"):
        for text in file.read_text().splitlines():
            line = json.loads(text)
            if line["trainable"] and line["policy"]["sha256"] != live.get(line["policy"]["step"]):
                taken_back.add(line["group_id"])
    problems = [f"{len(taken_back)} groups were trained on that a version taken back had written"] * bool(taken_back)
    written, restarts = spans(run_dir, "generate"), spans(run_dir, "restart")
    for fault in spans(run_dir, "fault"):
        worker, died = fault["worker"], fault["start_s"]
        back = min((r["end_s"] for r in restarts if r["worker"] == worker and r["end_s"] > died), default=math.inf)
        if any(group["worker"] == worker and died < group["start_s"] < back for group in written):
            problems.append(f"{worker} was given a prompt between its death and the proof of its version")
    return problems


def spans(run_dir: Path, name: str) -> list[dict[str, Any]]:
    """The run's spans of this name, each with its ids, `start_s` and `end_s`, in order of their start."""
    found = []
    for file in run_dir.glob("trace*.json"):
        for event in json.loads(file.read_text())["traceEvents"]:
            if event["name"] == name:
                start = event["ts"] / 1e6
                found.append({**event["args"], "start_s": start, "end_s": start + event["dur"] / 1e6})
    return sorted(found, key=lambda span: float(span["start_s"]))


def report(done: Sequence[Done], ledger: Ledger, folder: Path, *, seconds: float) -> str:
    """One row a kind of fault, then what became of the groups."""
    rows: list[tuple[object, ...]] = []
    for kind in KINDS:
        own = [fault for fault in done if fault.kind == kind]
        took = [fault.recover_s for fault in own if fault.recover_s is not None]
        if own:
            middle, most = (f"{statistics.median(took):.1f}", f"{max(took):.1f}") if took else ("-", "-")
            rows.append((kind, len(own), sum(fault.requeued for fault in own), middle, most))
    faults = table(("fault", "times", "groups done again", "seconds to recover, median", "most"), rows)
    groups = table(
        ("updates", "groups trained", "dropped", "lost", "trained twice", "torn", "written again", "scored again"),
        [
            (
                ledger.updates,
                ledger.trained,
                ledger.dropped,
                len(ledger.lost),
                len(ledger.twice),
                len(ledger.torn),
                ledger.written_again,
                ledger.scored_again,
            )
        ],
    )
    return f"\n{faults}\n\n{groups}\n\n{len(done)} faults in {seconds:.0f} s; cores: {os.cpu_count()}; run: {folder}"


def _latest(out: Path) -> Path | None:
    link = out / "latest"
    return link.resolve() if link.exists() else None


if __name__ == "__main__":
    sys.exit(main())
