#!/usr/bin/env python
"""The asynchronous ratio as an experiment: every ratio with every correction, from one warm start.

    python scripts/sweep_async.py [PART ...] [--readme] [section.key=value ...]

Parts, all of them by default:

    split      ratio 0 beside 1, five times each, without evaluation: how much of the possible speed-up is reached
    ratios     0, 0.25, 0.5, 1, 2, 4, each with and without correction
    accuracy   0, 1, 4, each with and without correction, over three seeds: what staleness costs

In every run the engine has core 0, shared with Ray, driver and reward, and the learner core 1, a thread each
(ray.cores, rollout.cores, learner.cores): all ratios have the same cores and threads, so at ratio 0, where the halves
take turns, one core is idle at any moment. A synchronous run that gives both cores to either half gains less from
asynchrony: scripts/trl_side_by_side.sh has one.

Two optimizer steps a batch and GRPO's KL give the learner about as much to do as the engine has (learner.kl=0.01,
learner.updates_per_batch=2). Settings behind the options are for every run; those of sft.* are of the warm start alone,
which is made once, with the first seed. rollout.group_size and rollout.max_tokens, too, change how both share the work.

What is finished is kept in RUN_DIR, each run in its own folder, and found again by its settings. Writes
RUN_DIR/async/async.md and async.png; with --readme also the section of README.md and its picture.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finished_runs import facts_of, finished, finished_run
from machine_load import busy_cores
from readme_section import write_section_with_picture
from sweep_experiment import Experiment
from sweep_measures import MACHINE_FILE, LeftOut, Setting, SweepRun
from sweep_report import PICTURE, SCRIPT, SHOWS, write_report

from fundus_ray.cluster import check_machine
from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError, FundusRayError
from fundus_ray.obs.strict_json import write_json

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "simulated.yaml"
CORRECTIONS = ("none", "tis", "icepop", "geometric", "decoupled")
TRAINING = (
    "learner.learning_rate=0.002",  # twice the recipe's, so that few updates show what they lead to
    "ray.cores=0",  # all but the learner
    "rollout.cores=0",
    "learner.cores=1",
    "learner.kl=0.01",
    "learner.updates_per_batch=2",
)
QUICK = (  # of everything so little that nothing is measured; that it runs is all that it shows
    "data.train_samples=48",
    "data.eval_samples=8",
    "sft.steps=2",
    "sft.vision_warmup_steps=1",
    "rollout.group_size=4",
    "rollout.max_tokens=16",
    "loop.groups_per_step=4",
)
OWN = {  # settings that the sweep itself gives -> the option that changes them
    "loop.async_ratio": "use --ratios",
    "learner.correction": "use --corrections",
    "learner.allow_uncorrected": "use --corrections none",
    "loop.steps": "use --updates",
    "run.seed": "use --seeds",
    "run.name": "it tells repeats apart",
}
LOOK_S = 2.0  # how long the machine is watched before a run
QUIET_CORES = 0.3  # at work before a run: more than that is other work


@dataclass(frozen=True, slots=True)
class Plan:
    """A part: which runs it is made of."""

    ratios: tuple[float, ...]
    corrections: tuple[str, ...]
    seeds: tuple[int, ...]
    repeats: int
    updates: int
    checkpoint_every: int  # updates; each checkpoint is evaluated at the end. 0 = no evaluation at all

    def settings(self) -> list[Setting]:
        """Its rows: ratio 0 once, as nothing is stale there."""
        stale = [Setting(ratio, correction) for ratio in self.ratios if ratio for correction in self.corrections]
        return [Setting(0.0, ""), *stale]


PARTS = {
    "split": Plan((0, 1), ("tis",), seeds=(0,), repeats=5, updates=24, checkpoint_every=0),
    "ratios": Plan((0, 0.25, 0.5, 1, 2, 4), ("none", "tis"), seeds=(0,), repeats=1, updates=30, checkpoint_every=10),
    "accuracy": Plan((0, 1, 4), ("none", "tis"), seeds=(0, 1, 2), repeats=1, updates=30, checkpoint_every=10),
}
QUICK_PLAN = Plan((0, 1), ("tis",), seeds=(0,), repeats=1, updates=6, checkpoint_every=3)


def main() -> int:
    """Run what is missing, then report. Returns the exit code."""
    args = parsed()
    plans = {"ratios": QUICK_PLAN} if args.quick else {name: PARTS[name] for name in args.parts or PARTS}
    plans = {name: changed(plan, args) for name, plan in plans.items()}
    overrides = [*(QUICK if args.quick else ()), *args.overrides]
    try:
        first = next(iter(plans.values())).seeds[0]
        out = Path(load(RECIPE, overrides).run.dir).resolve() / ("async-quick" if args.quick else "async")
        check(plans, overrides)
        say_load("now")
        experiments = [experiment(name, plan, overrides, first_seed=first) for name, plan in plans.items()]
        text = write_report(experiments, folder=out)
        print(f"\n{text}\n\nwritten to {out}/async.md and async.png")
        if args.readme:
            write_section_with_picture(
                text, script=SCRIPT, picture=out / PICTURE.name, place=PICTURE, shows=SHOWS, root=ROOT
            )
            print(f"written to README.md and {PICTURE}")
    except FundusRayError as err:
        print(f"sweep_async: error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; ends the process with one line where it cannot work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="PART or section.key=value", help="parts are named above")
    parser.add_argument("--ratios", type=listed(float), help="comma-separated, 0 among them")
    parser.add_argument("--corrections", type=listed(str), help=f"comma-separated, of {', '.join(CORRECTIONS)}")
    parser.add_argument("--seeds", type=listed(int), help="comma-separated")
    parser.add_argument("--repeats", type=int, help="runs of each kind")
    parser.add_argument("--updates", type=int, help="policy updates a run")
    parser.add_argument("--quick", action="store_true", help="two tiny runs, to see that everything works")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md and its picture")
    args = parser.parse_intermixed_args(argv)
    args.parts = [word for word in args.words if "=" not in word]
    args.overrides = [word for word in args.words if "=" in word]
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]}; there are {', '.join(PARTS)}")
    own = [word for word in args.overrides if word.partition("=")[0] in OWN]
    if own:
        parser.error(f"{own[0]}: the sweep gives this to each run; {OWN[own[0].partition('=')[0]]}")
    if args.parts and args.quick:
        parser.error("--quick has runs of its own; name no part")
    if args.readme and (args.quick or args.parts):
        parser.error("--readme is for the whole sweep; leave out the parts and --quick")
    if args.ratios is not None and (0 not in args.ratios or len(args.ratios) < 2 or min(args.ratios) < 0):
        parser.error("--ratios must hold 0, which the others are compared with, and at least one above it")
    wrong = [name for name in args.corrections or () if name not in CORRECTIONS]
    if wrong:
        parser.error(f"--corrections: {wrong[0]} is none of {', '.join(CORRECTIONS)}")
    for name in ("repeats", "updates"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return args


def listed(kind: type) -> Callable[[str], tuple[float | str, ...]]:
    """A parser of comma-separated values, each once."""

    def parse(text: str) -> tuple[float | str, ...]:
        values = tuple(kind(part) for part in text.split(","))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"{text} names a value twice")
        return values

    parse.__name__ = f"list of {kind.__name__}"  # for argparse's own message
    return parse


def changed(plan: Plan, args: argparse.Namespace) -> Plan:
    """The plan as the options say."""
    names = ("ratios", "corrections", "seeds", "repeats", "updates")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return replace(plan, **given)


def check(plans: dict[str, Plan], overrides: Sequence[str]) -> None:
    """Every run's settings, before the first one starts. Raises ConfigError."""
    for name, plan in plans.items():
        left_out = LeftOut.of(plan.ratios)
        if plan.updates <= left_out.first + left_out.last:
            raise ConfigError(
                f"--updates {plan.updates} is too few for {name}: the first {left_out.first} and the last "
                f"{left_out.last} updates are not measured"
            )
        for seed, _, setting in ordered(plan):
            check_machine(load(RECIPE, [*run_settings(plan, setting), *overrides, f"run.seed={seed}"]))


def experiment(name: str, plan: Plan, overrides: Sequence[str], *, first_seed: int) -> Experiment:
    """All runs of a part, taken or made. Repeats go round, so that a drift of the machine meets all settings alike."""
    base, befores = warm_start(overrides, seed=first_seed), {}
    if plan.checkpoint_every:
        befores = {seed: started(base, overrides, seed=seed, first_seed=first_seed) for seed in plan.seeds}
    policy = facts_of(base)["policy"]["base"]
    runs = []
    for seed, repeat, setting in ordered(plan):
        print(f"\n== {name}: {setting.name}, seed {seed}, run {repeat + 1} of {plan.repeats}", flush=True)
        settings = [
            *run_settings(plan, setting),
            *without_sft(overrides),
            f"policy.path={policy}",
            "sft.steps=0",
            f"run.seed={seed}",
            "run.name=async" + (f"-again{repeat}" if repeat else ""),
        ]
        folder = watched(load(RECIPE, settings), evaluated="after" if plan.checkpoint_every else "")
        runs.append(SweepRun(setting, seed, repeat, folder))
    return Experiment(name, runs, LeftOut.of(plan.ratios), befores)


def ordered(plan: Plan) -> Iterator[tuple[int, int, Setting]]:
    """Seed, repeat, setting of each run."""
    for seed in plan.seeds:
        for repeat in range(plan.repeats):
            for setting in plan.settings():
                yield seed, repeat, setting


def run_settings(plan: Plan, setting: Setting) -> list[str]:
    """What the part and the row say; options given by the user come after them."""
    stale = [f"learner.correction={setting.correction}"] if setting.ratio else []
    if setting.ratio and setting.correction == "none":
        stale.append("learner.allow_uncorrected=true")
    evaluation = ["evaluate.samples=0"]
    if plan.checkpoint_every:
        evaluation = ["evaluate.before=false", "evaluate.checkpoints=true"]
    return [
        *TRAINING,
        f"loop.async_ratio={setting.ratio:g}",
        f"loop.steps={plan.updates}",
        f"loop.checkpoint_every={plan.checkpoint_every}",
        "evaluate.photo=false",
        *evaluation,
        *stale,
    ]


def warm_start(overrides: Sequence[str], *, seed: int) -> Path:
    """The run that makes the policy of all others and evaluates it, without an update."""
    print(f"\n== warm start, seed {seed}", flush=True)
    settings = [*overrides, f"run.seed={seed}", "run.name=async", "evaluate.photo=false", "loop.steps=0"]
    return finished(load(RECIPE, settings), evaluated="before")


def started(base: Path, overrides: Sequence[str], *, seed: int, first_seed: int) -> Path:
    """The run that evaluates the same policy on this seed's held-out samples."""
    if seed == first_seed:
        return base
    print(f"\n== the warm start on the held-out samples of seed {seed}", flush=True)
    settings = [
        *without_sft(overrides),
        f"policy.path={facts_of(base)['policy']['base']}",
        "sft.steps=0",
        f"run.seed={seed}",
        "run.name=async",
        "evaluate.photo=false",
        "loop.steps=0",
    ]
    return finished(load(RECIPE, settings), evaluated="before")


def without_sft(overrides: Sequence[str]) -> list[str]:
    """Settings of the warm start have no effect on what starts from it."""
    return [setting for setting in overrides if not setting.startswith(("sft.", "policy.path="))]


def watched(config: Config, *, evaluated: str) -> Path:
    """The run, and beside it how busy the machine was before it began."""
    there = finished_run(config, evaluated=evaluated)
    if there is not None:
        return there
    busy = say_load("before this run")
    folder = finished(config, evaluated=evaluated)
    write_json(folder / MACHINE_FILE, {"busy_cores": busy, "over_s": LOOK_S})
    return folder


def say_load(when: str) -> float:
    """Cores that other work keeps busy."""
    busy = busy_cores(over_s=LOOK_S)
    load_1m = os.getloadavg()[0]
    print(f"machine {when}: {busy:.2f} of {os.cpu_count()} cores busy, load average {load_1m:.1f}", flush=True)
    if busy > QUIET_CORES:
        print("   WARNING: other work uses this machine, so times and speed-ups will not be those of a quiet one")
    return busy


if __name__ == "__main__":
    sys.exit(main())
