#!/usr/bin/env python
"""`fundus-ray train` beside TRL's `GRPOTrainer`: the same work on the same two cores, one after the other.

    python scripts/trl_side_by_side.py [--workload short|long|both] [--repeats 3] [--updates N] [section.key=value ...]

Same checkpoint, images, prompts (in the same order), group size, sampling, reward function, LoRA, optimizer, number of
updates (side_by_side_work.py). Needs the extra `bench`. First TRL alone tries how it computes fastest: data type,
attention, micro-batch. Sides are subprocesses in turn, never at once: TRL; ours with
loop.async_ratio=1, a core for the engine and one for the learner; ours with loop.async_ratio=0, where either half has
both cores while the other waits. Settings that are given hold for ours (learner.*, rollout.* and the like).

Figures of every run are kept in RUN_DIR/side-by-side/ as JSON, the tables in RUN_DIR/side-by-side.md. `--kept` makes
the tables anew from the last call that ran all sides of a workload to their end, and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from commit_name import commit_name
from readme_section import write_section
from side_by_side_policy import policies
from side_by_side_report import FIRST_LEFT_OUT, LAST_LEFT_OUT, REPEATS, TRL, Figures, keep, kept, report
from side_by_side_work import (
    CORES,
    WORKLOADS,
    TrlSetup,
    Workload,
    fastest,
    held_out,
    only_held_out,
    ours,
    trl_setup,
)

from fundus_ray.errors import FundusRayError
from fundus_ray.obs.versions import git_state

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts/trl_side_by_side.sh"
LIMIT_S = 3600.0  # longest run of one side
TRIAL_UPDATES = 5
SAMPLE_S = 1.0  # between two readings of memory
NO_USE_TO_KEPT = ("repeats", "updates", "policy", "trl", "only")


@dataclass(frozen=True, slots=True)
class Side:
    """A row of the table that is ours."""

    name: str
    ratio: float
    threads: tuple[int, int]


SIDES = (Side("ours, async_ratio=1", 1.0, (1, 1)), Side("ours, async_ratio=0", 0.0, (2, 2)))


def main() -> None:
    """Run in turn, then report."""
    args = parsed(sys.argv[1:])
    out = Path(args.run_dir).resolve() / "side-by-side"
    names = list(WORKLOADS) if args.workload == "both" else [args.workload]
    try:
        done = {name: kept(out, name) for name in names} if args.kept else ran(args, names, out=out)
    except FundusRayError as err:
        raise SystemExit(str(err)) from None
    text = "\n\n".join(report(name, runs, notes=notes) for name, (runs, notes) in done.items())
    missing = [name for name in WORKLOADS if name not in names]
    text += "".join(f"\n\nThe workload {name} is not measured here." for name in missing)
    print("\n" + text)
    written = out.parent / "side-by-side.md"
    written.write_text(text + "\n")
    print(f"\nwritten to {written}")
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)
        print("written to README.md")


def ran(
    args: argparse.Namespace, names: Sequence[str], *, out: Path
) -> dict[str, tuple[dict[str, list[Figures]], str]]:
    """Runs and notes of each workload, made now."""
    load_before = os.getloadavg()[0]
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        raise SystemExit(f"this comparison needs {CORES} cores, but may use {len(cores)}")
    start = policies(names, given=args.policy, run_dir=args.run_dir)
    os.sched_setaffinity(0, cores)  # inherited by both sides
    bench = Bench(args, out=out)
    notes = {name: bench.settle_trl(WORKLOADS[name], str(start[name])) for name in names}
    runs: dict[str, dict[str, list[Figures]]] = {name: {} for name in names}
    for repeat in range(args.repeats):
        for name in names:
            for side, one in bench.in_turn(WORKLOADS[name], str(start[name]), repeat=repeat):
                runs[name].setdefault(side, []).append(one)
    given = f" Started from a given checkpoint, {args.policy.name}." if args.policy else ""
    given += f" Settings of ours beside the common ones: {' '.join(args.overrides)}." if args.overrides else ""
    for name in names:
        notes[name] += f"{given} Load of the machine before the first run: {load_before:.1f}."
        if not args.only:
            keep(out, name, runs[name], notes=notes[name])
    return {name: (runs[name], notes[name]) for name in names}


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=[*WORKLOADS, "both"], default="both")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each side, in turn")
    parser.add_argument("--updates", type=int, default=0, help="of every run; 0 = the workload's own")
    parser.add_argument("--policy", type=Path, help="a warm-started tiny checkpoint instead of one made here")
    parser.add_argument("--run-dir", default="runs", help="where runs, cache and figures go")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md")
    parser.add_argument(
        "--trl", type=trl_setup, metavar="DTYPE,ATTENTION,MICRO_BATCH", help="how TRL computes, as float32,sdpa,64"
    )
    parser.add_argument("--only", default="", help="a part of the names of the sides to run beside TRL")
    parser.add_argument("--kept", action="store_true", help="only make the tables anew; takes --workload and --run-dir")
    parser.add_argument("overrides", nargs="*", help="settings of ours")
    args = parser.parse_intermixed_args(words)
    least = FIRST_LEFT_OUT + LAST_LEFT_OUT + 1
    if args.repeats < 1 or 0 < args.updates < least or args.updates < 0:
        parser.error(f"--repeats must be >= 1 and --updates 0 or >= {least}")
    if args.policy and not (args.policy / "config.json").is_file():
        parser.error(f"--policy={args.policy} is not a checkpoint folder (no config.json)")
    if not any(args.only in side.name for side in SIDES):
        parser.error(f"--only={args.only} is a part of no side's name; there are {'; '.join(s.name for s in SIDES)}")
    if args.only and args.readme:
        parser.error("--readme is for all sides; leave out --only")
    changed = [name for name in NO_USE_TO_KEPT if getattr(args, name) != parser.get_default(name)]
    if args.kept and (args.overrides or changed):
        parser.error(f"--kept runs nothing; leave out {args.overrides[0] if args.overrides else f'--{changed[0]}'}")
    return args


class Bench:
    """Runs of both sides, one after the other."""

    def __init__(self, args: argparse.Namespace, *, out: Path) -> None:
        self._args = args
        self._setups: dict[str, TrlSetup] = {}
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    def settle_trl(self, work: Workload, policy: str) -> str:
        """Decide how TRL computes here; the rates of what was tried, in words."""

        def rate(setup: TrlSetup) -> float:
            self._setups[work.name] = setup
            return self._trl(work, policy, updates=TRIAL_UPDATES, repeat=0, evaluated=False).samples_per_s

        if self._args.trl:
            self._setups[work.name] = self._args.trl
            return f"TRL computes as told: {self._args.trl}."
        self._setups[work.name], rates = fastest(rate)
        tried = "; ".join(f"{setup} {found:.1f}" for setup, found in rates.items())
        return f"TRL computes as {self._setups[work.name]}; tried for {TRIAL_UPDATES} updates, samples/s: {tried}."

    def in_turn(self, work: Workload, policy: str, *, repeat: int) -> list[tuple[str, Figures]]:
        """(side, figures) of one repeat. Rewards say something only of the short chains, so only these are read on
        held-out samples."""
        updates, evaluated = self._args.updates or work.updates, work.name == "short"
        rows = [(TRL, self._trl(work, policy, updates=updates, repeat=repeat, evaluated=evaluated))]
        for side in SIDES:
            if self._args.only in side.name:
                settings = [
                    *ours(work, policy=policy, updates=updates, ratio=side.ratio, threads=side.threads),
                    *held_out(evaluated),
                ]
                rows.append((side.name, self._ours(settings, name=f"{work.name}-{side.name}-{repeat}")))
        return rows

    def _trl(self, work: Workload, policy: str, *, updates: int, repeat: int, evaluated: bool) -> Figures:
        merged = self.out / "trl-policy"
        spec = {
            "work": work.name,
            "policy": policy,
            "updates": updates,
            "setup": asdict(self._setups[work.name]),
            "seed": repeat,
            "run_dir": str(self.out.parent),
            "save": str(merged) if evaluated else "",
        }
        found = self._run("side_by_side_trl.py", spec, name=f"{work.name}-trl-{repeat}", threads=CORES)
        if not evaluated:
            return found
        read = self._ours(only_held_out(work, policy=str(merged)), name=f"{work.name}-trl-held-out-{repeat}")
        shutil.rmtree(merged)
        return replace(found, held_out=read.held_out)

    def _ours(self, settings: Sequence[str], *, name: str) -> Figures:
        spec = {"settings": [*settings, f"run.dir={self.out.parent}", *self._args.overrides]}
        return self._run("side_by_side_ours.py", spec, name=name, threads=1)

    def _run(self, script: str, spec: dict[str, Any], *, name: str, threads: int) -> Figures:
        stem = self.out / name.replace(" ", "").replace(",", "-")
        asked, written = stem.with_suffix(".spec.json"), stem.with_suffix(".json")
        asked.write_text(json.dumps(spec, indent=1))
        written.unlink(missing_ok=True)
        print(f"== {name}", flush=True)
        with stem.with_suffix(".log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "scripts" / script), str(asked), str(written)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            with PeakMemory(process.pid) as memory:
                try:
                    process.wait(timeout=LIMIT_S)
                finally:
                    process.kill()
        if process.returncode:
            raise SystemExit(f"{name} failed (exit code {process.returncode}); its output is in {stem}.log")
        commit = commit_name(git_state(ROOT / "scripts"))
        one = Figures(**json.loads(written.read_text()), peak_mib=memory.peak_mib, commit=commit)
        if one.update_s:
            print(f"   {one.samples_per_s:.1f} samples/s, load {os.getloadavg()[0]:.1f}", flush=True)
        return one


class PeakMemory:
    """The most that a process and all below it hold at once, shared pages shared out (PSS)."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mib = 0.0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            total = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    total += process.memory_full_info().pss
            except psutil.Error:  # one of them has just ended: the next reading counts
                continue
            self.peak_mib = max(self.peak_mib, total / 2**20)


if __name__ == "__main__":
    main()
