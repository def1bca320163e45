"""`fundus-ray traces`: reasoning traces by a multimodal model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add, take_overrides, topic


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "traces", "reasoning traces for images that carry only labels")
    command = add(
        group, "generate", _generate, "a model names findings, knowledge links them to the label; a second call goes on"
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe that says where the samples are")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the traces and their export")
    take_overrides(command)


def _generate(args: argparse.Namespace) -> None:
    from fundus_ray.config import load
    from fundus_ray.write_traces import generate_traces, verdict_table

    folder = generate_traces(load(args.config, args.overrides), out=args.out)
    print(verdict_table(folder))
    print(f"kept ones for other trainers: {args.out}/kept.jsonl, {args.out}/kept.parquet")
