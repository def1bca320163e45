"""`fundus-ray traces`: reasoning traces by a multimodal model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fundus_ray.cli.arguments import add, take_overrides, topic
from fundus_ray.errors import ConfigError

SHOWN_SAMPLES = 20


def register(commands: Any) -> None:
    """Add the topic."""
    group = topic(commands, "traces", "reasoning traces for images that carry only labels")
    command = add(
        group, "generate", _generate, "a model names findings, knowledge links them to the label; a second call goes on"
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="a recipe that says where the samples are")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the traces and their export")
    take_overrides(command)
    command = add(
        group, "filter", _filter, "judge the traces of a folder again by today's data and knowledge, and export anew"
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="the --out of `traces generate`")
    command.add_argument("--config", type=Path, metavar="YAML", help="the recipe that they were generated with")
    command.add_argument("--show", type=int, default=0, metavar="N", help="print the first N traces to be read")
    take_overrides(command)


def _generate(args: argparse.Namespace) -> None:
    from fundus_ray.config import load
    from fundus_ray.traces.filter import verdict_table
    from fundus_ray.write_traces import generate_traces

    folder = generate_traces(load(args.config, args.overrides), out=args.out)
    print(verdict_table(folder.counts()))
    print(_where(args.out))


def _filter(args: argparse.Namespace) -> None:
    from fundus_ray.config import load
    from fundus_ray.filter_traces import filter_traces
    from fundus_ray.traces.filter import verdict_table

    if args.show < 0:
        raise ConfigError(f"--show={args.show} is not allowed: must be >= 0 (traces to print)")
    done = filter_traces(load(args.config, args.overrides), folder=args.folder, show=args.show)
    for text in done.shown:
        print(f"{text}\n")
    for line in done.unmatched[:SHOWN_SAMPLES]:
        print(line)
    if len(done.unmatched) > SHOWN_SAMPLES:
        print(f"and {len(done.unmatched) - SHOWN_SAMPLES} more such traces; all of them stay in the folder")
    print(verdict_table(done.counts))
    print(f"{done.changed} verdicts changed")
    print(_where(args.folder))


def _where(folder: Path) -> str:
    return f"kept ones for other trainers: {folder}/kept.jsonl (ms-swift, LLaMA-Factory), {folder}/kept.parquet (TRL)"
