"""`fundus-ray submit`: `train` as a job of a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add, take_overrides
from fundus_ray.errors import ConfigError


def register(commands: Any) -> None:
    """Add the command."""
    command = add(commands, "submit", _submit, "train as a job of a Ray cluster: send it, follow it, end as it ends")
    command.add_argument("--address", required=True, metavar="URL", help="the cluster's dashboard: http://HOST:8265")
    command.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="a recipe; goes along with the job; with --resume again where it names relative files, which went along",
    )
    command.add_argument("--resume", metavar="RUN_DIR", help="go on with a run, by its absolute path on the cluster")
    command.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable for the job; no secrets"
    )
    command.add_argument(
        "--working-dir", type=Path, metavar="DIR", help="take this whole folder along; default: what the settings name"
    )
    command.add_argument("--no-wait", action="store_true", help="only send it; print how to follow and stop it")
    take_overrides(command)


def _submit(args: argparse.Namespace) -> None:
    if args.resume is None and args.config is None:
        raise ConfigError("submit needs a recipe or a run to go on with: --config configs/quickstart.yaml or --resume")
    env = dict(_variable(item) for item in args.env)

    from fundus_ray.job_log import follow
    from fundus_ray.submit import Order, connect, how_to_go_on, submit

    order = Order(
        address=args.address.rstrip("/"),
        recipe=args.config,
        overrides=tuple(args.overrides),
        resume=args.resume,
        env=env,
        folder=args.working_dir,
    )
    job_id = submit(order, say=_say)
    how = how_to_go_on(order.address, job_id)
    try:
        print(f"job {job_id}\n{how}", flush=True)
        if not args.no_wait:
            follow(connect(order.address), job_id, write=_write, say=_say)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"no longer following; job {job_id} goes on\n{how}") from None


def _variable(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name.replace("_", "a").isalnum() or name[0].isdigit():
        raise ConfigError(f"--env {name} is not of the form NAME=VALUE")
    return name, value


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    print(f"== {text}", flush=True)
