"""What the sub-commands share of the command line's grammar."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


# `commands` is what argparse's add_subparsers returns, a private type.
def topic(commands: Any, name: str, summary: str) -> Any:
    """A group of sub-commands."""
    parser = commands.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add(commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
    """A sub-command that calls `run`."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    command.set_defaults(run=run, takes_overrides=False, ends_in_order=False)
    return command


def take_overrides(command: argparse.ArgumentParser) -> None:
    """Let the command take `section.key=value`."""
    command.set_defaults(takes_overrides=True)
    command.add_argument(
        "overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="settings; `fundus-ray config` lists them all"
    )


def take_store(command: argparse.ArgumentParser) -> None:
    """Let the command take a knowledge store, and overrides."""
    command.add_argument("--store", choices=("embedded", "elasticsearch"), help="short for knowledge.store=")
    command.add_argument("--url", metavar="URL", help="short for knowledge.url=")
    take_overrides(command)
