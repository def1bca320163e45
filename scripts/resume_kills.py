#!/usr/bin/env python
"""A short run whose driver is killed (SIGKILL) at random points and resumed each time, and what came of it, as tables.

    python scripts/resume_kills.py [--kills 3] [--seed 7] [--out DIR] [--readme] [section.key=value ...]

    live      engines, reward and learner, asynchronous, recording; killed and resumed
    replay    its recorded rollouts, learned from again without a kill
    killed    the same, killed and resumed

Of the live run every sample must have been trained exactly once an epoch; all three must end with the same adapter,
byte for byte. Ends with exit code 1 where not, or where an update moved nothing, so that equal adapters would mean
nothing. Killed is the driver alone, as an operating system would; it is resumed at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from readme_section import write_section

from fundus_ray.checkpoints import latest_checkpoint
from fundus_ray.config import load
from fundus_ray.obs.recorded import read_recorded, recorded_steps
from fundus_ray.obs.report_table import table
from fundus_ray.obs.strict_json import read_json, read_lines

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/resume_kills.py"
RECIPE = ROOT / "configs" / "simulated.yaml"
UPDATES, EVERY = 14, 2  # of the run; between its checkpoints
GROUPS, SAMPLES = 4, 28  # a step; so that the run is two epochs
SHORT = (
    f"data.train_samples={SAMPLES}",
    "data.eval_samples=4",
    "sft.steps=30",
    "sft.vision_warmup_steps=5",
    "sft.batch_size=8",
    "sft.bf16=false",
    f"loop.steps={UPDATES}",
    f"loop.groups_per_step={GROUPS}",
    f"loop.checkpoint_every={EVERY}",
    "loop.async_ratio=1",
    "rollout.group_size=4",
    "evaluate.samples=0",
    "evaluate.photo=false",
    "run.record=true",
)
POLL_S, WAIT_S, END_S = 0.01, 600.0, 30.0
LEFT: list[psutil.Process] = []  # started by drivers that were killed


@dataclass(frozen=True, slots=True)
class Kill:
    """Of one driver."""

    at: float  # updates done, as it was drawn
    logged: int  # updates that the run folder held then
    from_step: int  # the checkpoint that it went on from


@dataclass(slots=True)
class Driven:
    """A run and its kills."""

    name: str
    folder: Path = Path()
    kills: list[Kill] = field(default_factory=list)

    @property
    def adapter(self) -> dict[str, Any]:
        """Step and hash that it ended with."""
        fact: dict[str, Any] = read_json(self.folder / "facts.json")["adapter"]
        return fact


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3, help="of the live run, and of a replay (default 3)")
    parser.add_argument("--seed", type=int, default=7, help="of the points at which they come (default 7)")
    parser.add_argument("--out", type=Path, default=Path("runs/resume-kills"), help="default %(default)s")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_intermixed_args()
    print(f"== seed {args.seed}, {args.kills} kills of each", flush=True)
    draw, out = random.Random(args.seed), args.out.resolve()
    settings = [*SHORT, f"run.dir={out}", *args.overrides]
    load(RECIPE, settings)
    try:
        runs = all_three(settings, out=out, draw=draw, kills=args.kills)
    finally:
        end_what_is_left()
    text = report(runs, seed=args.seed)
    faults = [*faults_of_data(runs[0].folder), *faults_of_learning(runs)]
    print(f"\n{text}\n", flush=True)
    if args.readme and not faults:
        write_section(text, script=SCRIPT, root=ROOT)
    for fault in faults:
        print(f"== wrong: {fault}", flush=True)
    return int(bool(faults))


def all_three(settings: Sequence[str], *, out: Path, draw: random.Random, kills: int) -> list[Driven]:
    """The live run, its replay, and its replay with kills."""
    live = drive("live", ["--config", str(RECIPE)], settings, out=out, points=points(draw, kills))
    again, own = ["--replay", str(live.folder)], [f"run.dir={out}"]
    whole = drive("replay", again, own, out=out, points=[])
    killed = drive("killed", again, own, out=out, points=points(draw, kills))
    return [live, whole, killed]


def points(draw: random.Random, kills: int) -> list[float]:
    """When to kill, in updates: after the first checkpoint, before the end."""
    return sorted(draw.uniform(EVERY + 1, UPDATES - 0.5) for _ in range(kills))


def drive(name: str, words: Sequence[str], settings: Sequence[str], *, out: Path, points: Sequence[float]) -> Driven:
    """Start it, kill it at each of the points, resume it each time, and wait for its end."""
    out.mkdir(parents=True, exist_ok=True)
    run, base = Driven(name), 0
    named = [item for item in settings if not item.startswith("run.name=")]
    process = _Process([*words, *named, f"run.name={name}"], log=out / f"{name}.log")
    run.folder = process.new_folder(out, name=f"{name}-*")
    for point in points:
        process.wait_for(run.folder / "metrics.jsonl", point=point, base=base)
        process.kill()
        logged = len(list(read_lines(run.folder / "metrics.jsonl")))
        found = latest_checkpoint(run.folder)
        base = found.position.step if found else 0
        run.kills.append(Kill(at=point, logged=logged, from_step=base))
        print(f"== {name}: killed at update {point:.2f}, {logged} logged, going on from {base}", flush=True)
        replayed = words if words[0] == "--replay" else []
        process = _Process([*replayed, "--resume", str(run.folder)], log=out / f"{name}.log")
    process.wait_for_end()
    print(f"== {name}: {run.adapter['step']} updates, adapter {run.adapter['sha256']}", flush=True)
    return run


class _Process:
    """`fundus-ray train`, as a user would start it."""

    def __init__(self, words: Sequence[str], *, log: Path) -> None:
        self._log = log
        self._started = time.time()
        command = [sys.executable, "-m", "fundus_ray.cli", "train", *words]
        with log.open("a") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def new_folder(self, out: Path, *, name: str) -> Path:
        """The run folder that it makes."""
        for _ in self._polls("making its run folder"):
            for folder in out.glob(name):
                if folder.stat().st_ctime >= self._started - 1 and (folder / "metrics.jsonl").is_file():
                    return folder
        raise AssertionError("the polls end by an error")

    def wait_for(self, metrics: Path, *, point: float, base: int) -> None:
        """Until it has done so many updates, of which `base` were done before it started."""
        whole, share = int(point), point % 1
        for _ in self._polls(f"doing update {point:.2f}"):
            own = [line for line in read_lines(metrics) if line["time"] > self._started]
            begun = own or (base and metrics.stat().st_mtime > self._started)  # a resume cuts the file back first
            if begun and max([base, *(line["step"] for line in own)]) >= whole:
                break
        seconds = own[-1]["time/step"] if own else 0.2
        time.sleep(share * seconds)  # an update says nothing of itself before it is done

    def kill(self) -> None:
        """The driver alone, by SIGKILL. What it had started ends by itself; nobody waits for that before resuming."""
        if self._process.poll() is not None:
            raise SystemExit(f"the run ended before it could be killed: {self._tail()}")
        LEFT.extend(psutil.Process(self._process.pid).children(recursive=True))
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=END_S)

    def wait_for_end(self) -> None:
        """Raises SystemExit where it does not end well."""
        if code := self._process.wait(timeout=WAIT_S):
            raise SystemExit(f"the run ended with exit code {code}: {self._tail()}")

    def _polls(self, doing: str) -> Iterator[None]:
        limit = time.monotonic() + WAIT_S
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                raise SystemExit(f"the run ended while it was awaited {doing}: {self._tail()}")
            yield
            time.sleep(POLL_S)
        self._process.kill()
        raise SystemExit(f"the run was not seen {doing} within {WAIT_S:g} s: {self._tail()}")

    def _tail(self) -> str:
        return " | ".join(self._log.read_text().splitlines()[-4:])


def end_what_is_left() -> None:
    """Of killed drivers' processes: those that have not ended by now."""
    for process in LEFT:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def faults_of_data(folder: Path) -> list[str]:
    """Whether every sample was trained once an epoch, from what the updates were made from."""
    groups = [one for step in range(1, recorded_steps(folder) + 1) for one in read_recorded(folder, step)]
    faults = []
    if sorted(one.group_id for one in groups) != list(range(len(groups))):
        faults.append("groups were lost or trained twice: their numbers are not 0, 1, 2, ...")
    for epoch in range(len(groups) // SAMPLES):
        of_epoch = Counter(one.sample for one in groups if one.group_id // SAMPLES == epoch and one.trainable)
        if len(of_epoch) != SAMPLES or set(of_epoch.values()) != {1}:
            faults.append(f"epoch {epoch}: {len(of_epoch)} of {SAMPLES} samples, up to {max(of_epoch.values())} times")
    return faults


def faults_of_learning(runs: Sequence[Driven]) -> list[str]:
    """Whether every update moved the adapter, and all ended with the same one."""
    faults = []
    for run in runs:
        norms = [line["grad_norm"] for line in read_lines(run.folder / "metrics.jsonl")]
        if len(norms) != UPDATES or not all(norm > 0 for norm in norms):
            faults.append(f"{run.name}: gradient norms {norms} are not {UPDATES} above 0")
    ends = {(run.adapter["step"], run.adapter["sha256"]) for run in runs}
    if ends != {(UPDATES, runs[0].adapter["sha256"])}:
        faults.append(f"the runs ended with different adapters: {sorted(ends)}")
    return faults


def report(runs: Sequence[Driven], *, seed: int) -> str:
    """Where each was killed, and what each ended with."""
    kills = [(run.name, f"{kill.at:.2f}", kill.logged, kill.from_step) for run in runs for kill in run.kills]
    groups = [one for step in range(1, UPDATES + 1) for one in read_recorded(runs[0].folder, step)]
    epochs = len(groups) / SAMPLES
    ends = [(run.name, len(run.kills), run.adapter["step"], run.adapter["sha256"][:16]) for run in runs]
    return "\n\n".join(
        [
            table(("run", "kill drawn for update", "updates logged when it came", "went on from update"), kills),
            table(("run", "kills", "updates", "sha256 of the adapter"), ends),
            f"Seed {seed}; {len(groups)} groups of {SAMPLES} samples, {epochs:g} epochs, each sample "
            f"{epochs:g} times; {os.cpu_count()} CPUs.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
