"""`fundus-ray data`: look at what is learned from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli import data_store
from fundus_ray.cli.arguments import add, topic


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "data", "look at the training images, and keep them apart from benchmarks")
    command = add(group, "sheet", _sheet, "a contact sheet of phantoms, one row a disease, as a PNG")
    command.add_argument("--out", type=Path, required=True, metavar="PNG")
    command.add_argument("--columns", type=int, default=8, metavar="N", help="phantoms of each disease (default 8)")
    data_store.register(group)


def _sheet(args: argparse.Namespace) -> None:
    from fundus_ray.data.sheet import write_sheet

    write_sheet(args.out, columns=args.columns)
    print(f"wrote {args.out}")
