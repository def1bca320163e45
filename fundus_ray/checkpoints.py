"""Checkpoints of the RLVR loop: RUN_DIR/checkpoints/step-000010/ with the learner's files and state.json.

In: where the run stands, and the learner. Out: a folder that counts as a checkpoint only once state.json is in it, as
that is written last and in one step. Only prompts that were trained or dropped are behind it: what was under way is
written again on resume, in the same order.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fundus_ray.errors import DataError
from fundus_ray.loop import Position

STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    position: Position


async def write_checkpoint(run_dir: Path, position: Position, *, save: Callable[[str], Awaitable[None]]) -> Path:
    """`save(folder)` fills the folder (the learner's half), then the marker makes it a checkpoint."""
    folder = run_dir / "checkpoints" / f"step-{position.step:06d}"
    # What lies here is half-written, or comes from a run that was resumed from before it.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    await save(str(folder))
    part = folder / f"{STATE_FILE}.part"
    state = {"step": position.step, "next_group_id": position.group_id, "passed_group_ids": list(position.passed)}
    part.write_text(json.dumps(state) + "\n")
    os.replace(part, folder / STATE_FILE)
    return folder


def latest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """The newest complete checkpoint, or None. Raises DataError where a marker cannot be read."""
    return next(reversed(checkpoints(run_dir)), None)


def checkpoints(run_dir: Path) -> list[Checkpoint]:
    """The complete ones, oldest first. Raises DataError where a marker cannot be read."""
    found = [_read(marker) for marker in (run_dir / "checkpoints").glob(f"step-*/{STATE_FILE}")]
    return sorted(found, key=lambda c: c.position.step)


def _read(marker: Path) -> Checkpoint:
    try:
        state = json.loads(marker.read_text())
        passed = tuple(int(group_id) for group_id in state["passed_group_ids"])
        position = Position(step=int(state["step"]), group_id=int(state["next_group_id"]), passed=passed)
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(
            f"{marker} is not a checkpoint's state (step, next_group_id, passed_group_ids): {err!r}"
        ) from None
    return Checkpoint(folder=marker.parent, position=position)
