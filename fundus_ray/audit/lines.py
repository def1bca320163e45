"""Scored rollouts read back from the files that a run wrote (obs/rollout_lines.py).

In: a file, or the folder of a run's. Out: lines, each with the place where it stands.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_ray.audit.line_form import problem
from fundus_ray.errors import DataError
from fundus_ray.obs.rollout_lines import group_of
from fundus_ray.types import RolloutGroup

SHOWN_IDS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One scored rollout; `where` is FILE:LINE."""

    where: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of one group, and the group itself, ready to be scored."""

    lines: tuple[Line, ...]
    rollouts: RolloutGroup


def read_groups(path: Path) -> list[Group]:
    """All groups in the file, or in the folder's *.jsonl, in order. Raises DataError naming file and line."""
    groups: list[list[Line]] = []
    for file in _files(path):
        before = None
        for line in _lines(file):
            group_id = line.fields.get("group_id")
            if not groups or group_id != before:
                groups.append([])
            groups[-1].append(line)
            before = group_id
    if not groups:
        raise DataError(f"{path} holds no scored rollout; a run writes them to RUN_DIR/rollouts/")
    return [_group(lines) for lines in groups]


def find(groups: Sequence[Group], wanted: str, *, path: Path) -> list[Line]:
    """The rollout of that id, or all of a sample's id. Raises DataError naming ids that are near."""
    lines = [line for group in groups for line in group.lines]
    found = [line for line in lines if wanted in (line.fields["id"], line.fields["sample"])]
    if found:
        return found
    ids = [str(line.fields["id"]) for line in lines]
    near = [known for known in ids if known.split(".")[0] == wanted.split(".")[0]]
    near = near or difflib.get_close_matches(
        wanted, [*ids, *(str(line.fields["sample"]) for line in lines)], n=SHOWN_IDS
    )
    hint = (
        f"near are {', '.join(list(dict.fromkeys(near))[:SHOWN_IDS])}" if near else f"ids go from {ids[0]} to {ids[-1]}"
    )
    raise DataError(f"{path} holds no rollout {wanted!r}; {hint}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(path.glob("*.jsonl"))


def _lines(file: Path) -> list[Line]:
    try:
        rows = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; a run writes rollouts to RUN_DIR/rollouts/step-000001.jsonl") from None
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file} cannot be read: {err}") from None
    lines = []
    for number, row in enumerate(rows, start=1):
        if not row.strip():
            continue
        try:
            fields = json.loads(row)
        except ValueError as err:
            raise DataError(f"{file}:{number}: not JSON: {err}") from None
        if not isinstance(fields, dict):
            raise DataError(f"{file}:{number}: not an object")
        lines.append(Line(f"{file}:{number}", fields))
    return lines


def _group(lines: Sequence[Line]) -> Group:
    for line in lines:
        if wrong := problem(line.fields):
            raise DataError(f"{line.where}: not a scored rollout: {wrong}")
    return Group(tuple(lines), group_of([line.fields for line in lines]))
