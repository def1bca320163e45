"""`fundus-ray doctor`: can this run work, here and on its cluster? Looked up before anything slow starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add, take_overrides


def register(commands: Any) -> None:
    """Add the command."""
    command = add(
        commands, "doctor", _doctor, "check placement, machines, models, images, search, memory and disks before a run"
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe; without one, the defaults")
    take_overrides(command)


def _doctor(args: argparse.Namespace) -> None:
    from fundus_ray.config import load

    config = load(args.config, args.overrides)

    from fundus_ray.doctor.examine import arithmetic, examine
    from fundus_ray.doctor.findings import counted, raise_failures, table

    findings = examine(config)
    print(table(findings))
    if all(one.check != "input" for one in findings):
        print(f"\n{arithmetic(config)}")
    print(f"\n{counted(findings)}")
    raise_failures(findings)
