"""`fundus-ray plan`: what other numbers of workers and other ratios would give, in simulated time."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.cli.arguments import add, take_overrides
from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from fundus_ray.config import Config
    from fundus_ray.plan.fit import Fit
    from fundus_ray.plan.grid import Split
    from fundus_ray.plan.service import Service

MOST_WORKERS = 100_000
DEFAULT_WORKERS = "1,2,4,8"
MOST_RATIO = 64.0  # as loop.async_ratio
OPTION_OF = {"rollout.workers": "--workers", "loop.async_ratio": "--ratios"}


def register(commands: Any) -> None:
    """Add the command."""
    command = add(
        commands, "plan", _plan, "predict throughput, idle shares and lag for other numbers of workers and ratios"
    )
    command.add_argument(
        "--run",
        dest="run_dirs",
        type=Path,
        action="append",
        default=[],
        metavar="RUN_DIR",
        help="a run that has ended, to take all times from; given several times: fitted together, best at ratio 0 and "
        "above, the first one's settings are planned with",
    )
    times = command.add_argument_group(
        "times", "in place of a run's; M or M:S, a mean and a standard deviation (log-normal)"
    )
    times.add_argument("--tokens", metavar="M:S", help="response tokens of a rollout, cut at rollout.max_tokens")
    times.add_argument(
        "--tokens-per-s",
        metavar="ALONE,FULL",
        help="of an engine with one sequence, and with rollout.max_seqs of them",
    )
    times.add_argument("--prompt-s", type=float, metavar="S", help="reading a group's prompt and image (default 0)")
    times.add_argument("--score-s", metavar="M:S", help="scoring a group on a reward worker (default 0)")
    times.add_argument(
        "--update-s",
        metavar="M:S",
        help="an update on loop.groups_per_step groups, on learner.gpus devices (at least 1)",
    )
    times.add_argument("--sync-s", metavar="M:S", help="an update's end until all engines have the version (default 0)")
    command.add_argument("--workers", metavar="N,N,...", help=f"numbers of rollout workers (default {DEFAULT_WORKERS})")
    command.add_argument("--devices", type=int, metavar="N", help="instead: every split of N devices with the learner")
    command.add_argument("--ratios", metavar="R,R,...", default="0,0.25,0.5,1,2,4", help="(default %(default)s)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default 0)")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    take_overrides(command)


def _plan(args: argparse.Namespace) -> None:
    from fundus_ray.bars import Bar
    from fundus_ray.plan.grid import as_json, as_table, cells, choose

    ratios = _numbers(args.ratios, option="--ratios", low=0, high=MOST_RATIO, kind=float)
    counts = _worker_counts(args)
    config, fitted, service = _system(args, ratios=ratios)
    grid = _grid(args, config, counts=counts)
    points = cells(config, service, grid=grid, ratios=ratios, seed=args.seed)
    found = list(Bar(points, total=len(grid) * len(ratios), desc="simulating", delay=2, leave=False))
    choice = choose(found)
    if args.json:
        import json
        from dataclasses import asdict

        quality = None if fitted is None else {k: v for k, v in asdict(fitted).items() if k != "service"}
        print(json.dumps({"service": service.summary(), "fit": quality, **as_json(found, choice)}, indent=2))
        return
    print(_said_of(service, fitted))
    print(as_table(found))
    cell = choice.cell
    print(f"\nrecommended: rollout.workers={cell.split.workers} loop.async_ratio={cell.ratio:g}", end="")
    print(f", {cell.split.learners} devices for the learner" if args.devices else "")
    print("\n".join(f"  - {reason}" for reason in choice.reasons))


def _system(args: argparse.Namespace, *, ratios: Sequence[float]) -> tuple[Config, Fit | None, Service]:
    """The configuration, what a run gave, and the times to plan with."""
    from fundus_ray.config import load
    from fundus_ray.plan.timed_run import SOME_RATIO, read_timed_run

    _check_overrides(args.overrides, ratios=ratios)
    if not args.run_dirs:
        absent = [f"--{name}" for name in ("tokens", "tokens-per-s", "update-s") if _stated(args, name) is None]
        if absent:
            raise ConfigError(f"without --run RUN_DIR, plan needs {', '.join(absent)}; see `fundus-ray plan --help`")
        config = load(None, [*args.overrides, SOME_RATIO])
        return config, None, _with_stated(args, config, _nothing())

    from fundus_ray.plan.fit import fit

    runs = [read_timed_run(run_dir) for run_dir in args.run_dirs]
    config = load(None, [*runs[0].settings, *args.overrides, SOME_RATIO])
    _check_changes(args, runs[0].config, config)
    fitted = fit(runs)
    return config, fitted, _with_stated(args, config, fitted.service)


def _check_changes(args: argparse.Namespace, ran: Config, planned: Config) -> None:
    """A run's times hold for its own groups and its own learner. Raises ConfigError."""
    tokens = "its responses are taken as they are; state --tokens to plan with others"
    update = "its updates are taken as they are; state --update-s to plan with another learner"
    for key, before, now, option, remedy in (
        ("rollout.group_size", ran.rollout.group_size, planned.rollout.group_size, "tokens", tokens),
        ("rollout.max_tokens", ran.rollout.max_tokens, planned.rollout.max_tokens, "tokens", tokens),
        ("learner.gpus", ran.learner.gpus, planned.learner.gpus, "update-s", update),
    ):
        if before != now and _stated(args, option) is None:
            raise ConfigError(f"{key}={now:g}: {args.run_dirs[0]} had {before:g}; {remedy}")


def _check_overrides(overrides: Sequence[str], *, ratios: Sequence[float]) -> None:
    """Only what changes a plan. Raises ConfigError."""
    from fundus_ray.plan.timed_run import PLANNED

    for item in overrides:
        key = item.partition("=")[0]
        if key in OPTION_OF:
            raise ConfigError(f"{key} is what plan varies: give {OPTION_OF[key]} instead")
        if key not in PLANNED:
            raise ConfigError(f"{key} has no effect on a plan; it reads {', '.join(PLANNED)}")
        if key == "loop.window" and not any(ratios):
            raise ConfigError(f"{item} has no effect at ratio 0; give a larger ratio by --ratios, or leave it out")


def _stated(args: argparse.Namespace, option: str) -> str | None:
    value: str | None = getattr(args, option.replace("-", "_"))
    return value


def _nothing() -> Service:
    """All that costs no time."""
    from fundus_ray.plan.engine import EngineSpeed
    from fundus_ray.plan.service import Service

    zero = (0.0,)
    return Service(
        lengths=(),
        engine=EngineSpeed(0.0, 0.0, 0.0),
        score_s=zero,
        score_least_s=0.0,
        update_s=zero,
        publish_s=zero,
        deliver_idle_s=zero,
        deliver_busy_s=zero,
        overhead_s=zero,
    )


def _with_stated(args: argparse.Namespace, config: Config, service: Service) -> Service:
    """The times that the command line states in place of the others. Raises ConfigError."""
    from fundus_ray.plan.service import engine_speed, made_lengths, spread

    rollout = config.rollout
    if args.tokens is not None:
        tokens = spread(args.tokens, option="--tokens")
        lengths = made_lengths(tokens, group_size=rollout.group_size, max_tokens=rollout.max_tokens, seed=args.seed)
        service = service.with_lengths(lengths) if service.lengths else replace(service, lengths=lengths)
    if args.tokens_per_s is not None:
        prompt_s = service.engine.prompt_s
        service = replace(service, engine=engine_speed(args.tokens_per_s, max_seqs=rollout.max_seqs, prompt_s=prompt_s))
    if args.prompt_s is not None:
        if not (args.prompt_s >= 0 and math.isfinite(args.prompt_s)):
            raise ConfigError(f"--prompt-s={args.prompt_s:g} is not allowed: must be >= 0 (seconds)")
        service = replace(service, engine=replace(service.engine, prompt_s=args.prompt_s))
    if args.score_s is not None:
        service = replace(service, score_s=spread(args.score_s, option="--score-s"), score_least_s=0.0)
    if args.update_s is not None:
        update = spread(args.update_s, option="--update-s")
        a_group = tuple(value / config.loop.groups_per_step for value in update)
        service = replace(service, update_s=a_group, first_update_s=0.0)
    if args.sync_s is not None:
        sync = spread(args.sync_s, option="--sync-s")
        service = replace(service, publish_s=(0.0,), deliver_idle_s=sync, deliver_busy_s=sync)
    return service


def _worker_counts(args: argparse.Namespace) -> list[int]:
    """Those of --workers; none where --devices says it. Raises ConfigError."""
    if args.devices is None:
        numbers = _numbers(args.workers or DEFAULT_WORKERS, option="--workers", low=1, high=MOST_WORKERS, kind=int)
        return [int(number) for number in numbers]
    if args.workers:
        raise ConfigError("--workers and --devices exclude each other; leave one out")
    return []


def _grid(args: argparse.Namespace, config: Config, *, counts: Sequence[int]) -> list[Split]:
    """The splits to try. Raises ConfigError."""
    from fundus_ray.plan.grid import Split, splits

    if args.devices is None:
        return [Split(workers=count, learners=max(1, round(config.learner.gpus))) for count in counts]
    a_worker = max(1, math.ceil(config.rollout.gpus))
    if not a_worker + 1 <= args.devices <= MOST_WORKERS:
        raise ConfigError(
            f"--devices={args.devices} is not allowed: must be >= {a_worker + 1} and <= {MOST_WORKERS} (one for the "
            f"learner, {a_worker} for each rollout worker by rollout.gpus)"
        )
    return splits(args.devices, a_worker=a_worker)


def _numbers(text: str, *, option: str, low: float, high: float, kind: type[int] | type[float]) -> list[float]:
    """Numbers with commas between, in order and each once. Raises ConfigError naming the option."""
    try:
        numbers = sorted({kind(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not all(low <= number <= high for number in numbers):
        what = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text} must be {what} with commas between, each >= {low:g} and <= {high:g}")
    return list(numbers)


def _said_of(service: Service, fitted: Fit | None) -> str:
    """What the plan rests on."""
    said = [f"{name} {value:.3g}" for name, value in service.summary().items()]
    lines = [f"times: {', '.join(said)}"]
    if fitted is not None:
        lines.append(
            f"fitted to {fitted.groups} groups of {fitted.steps} steps; the engine model ends a group "
            f"{fitted.group_error_s:.3g} s off on average, where a group takes {fitted.group_s:.3g} s"
        )
        if not fitted.drag_is_seen:
            lines.append(
                f"assumed: how much engines and learner slow each other (engine_drag {service.engine_drag:.2g}, "
                f"learner_drag {service.learner_drag:.2g}); engines worked in {fitted.busy_share:.0%} of the updates' "
                "time, and only a difference in that shows it: take short runs at ratio 0 and above, and give --run "
                "for each"
            )
    return "\n".join(lines)
