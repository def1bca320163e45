"""Checkpoints of the RLVR loop: RUN_DIR/checkpoints/step-000010/ with the learner's files and state.json.

In: where the run stands, what it is made from, and the learner. Out: a folder that counts as a checkpoint only once
state.json is in it, as that is written last and in one step, and only while every file is as state.json says. Only
prompts that were trained or dropped are behind it: what was under way is written again on resume, in the same order.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.file_hashes import sha256_of_file
from fundus_ray.loop import Position

log = logging.getLogger(__name__)

STATE_FILE = "state.json"
SEAL = "state_sha256"  # of everything else in state.json


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    position: Position
    record: Mapping[str, Any] = field(default_factory=dict)  # what `write_checkpoint` was given
    files: Mapping[str, str] = field(default_factory=dict)  # path in the folder -> SHA-256


async def write_checkpoint(
    run_dir: Path,
    position: Position,
    *,
    save: Callable[[str], Awaitable[None]],
    record: Mapping[str, Any] | None = None,
) -> Path:
    """`save(folder)` fills the folder (the learner's half), then the marker makes it a checkpoint. `record` is kept
    beside the position: what the run is made from. Raises DataError where the disk does not take it, or nothing that
    was saved is seen here, and what `save` raises."""
    folder = folder_of(run_dir, position.step)
    with _writing(folder):
        # What lies here is half-written, or comes from updates that were taken back.
        await asyncio.to_thread(_remove, folder)
        folder.mkdir(parents=True)
    await save(str(folder))
    with _writing(folder):
        await asyncio.to_thread(_seal, folder, position, record or {})
    return folder


def folder_of(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of this update lies."""
    return run_dir / "checkpoints" / f"step-{step:06d}"


def latest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """The newest whole one, or None. Damaged ones that are newer are named in the log."""
    for checkpoint in reversed(checkpoints(run_dir)):
        try:
            check_whole(checkpoint)
        except DataError as err:
            log.warning("%s\nThe checkpoint before it is taken, if there is one", err)
        else:
            return checkpoint
    return None


def checkpoints(run_dir: Path) -> list[Checkpoint]:
    """The complete ones, oldest first, without those whose marker is damaged, which are named in the log. Whether the
    other files are whole, `check_whole` tells."""
    found = []
    for folder in _folders(run_dir):
        try:
            if (folder / STATE_FILE).is_file():
                found.append(read_marker(folder / STATE_FILE))
        except DataError as err:
            log.warning("%s\nIt does not count", err)
    return sorted(found, key=lambda c: c.position.step)


def check_whole(checkpoint: Checkpoint) -> None:
    """Raises DataError naming the first file that is missing or not as it was written."""
    for name, expected in checkpoint.files.items():
        path = checkpoint.folder / name
        try:
            found = sha256_of_file(path)
        except OSError as err:
            raise DataError(f"{path}: the checkpoint is damaged, this file cannot be read: {err.strerror}") from None
        if found != expected:
            raise DataError(
                f"{path}: the checkpoint is damaged: SHA-256 {found[:12]}, when it was written {expected[:12]}"
            )


def prune(run_dir: Path, *, written: Path, keep: int, held: Collection[Path] = ()) -> None:
    """Remove all but the newest `keep` up to the one that was just `written` (0 = keep all), and those of later
    updates, which were taken back; `held` ones stay for now."""
    folders = sorted(_folders(run_dir), key=_step_of)
    at = folders.index(written)
    old = folders[: max(0, at + 1 - keep)] if keep else []
    for folder in [*old, *folders[at + 1 :]]:
        if folder not in held:
            _remove(folder)


def read_marker(marker: Path) -> Checkpoint:
    """What a state.json says. Raises DataError where it is damaged."""
    try:
        state = json.loads(marker.read_text())
        passed = tuple(int(group_id) for group_id in state["passed_group_ids"])
        position = Position(step=int(state["step"]), group_id=int(state["next_group_id"]), passed=passed)
        files = {str(name): str(sha256) for name, sha256 in state.get("files", {}).items()}
        if SEAL in state and state.pop(SEAL) != _sha256_of(state):  # older ones have none
            raise ValueError("its content is not what was written")
        record = dict(state.get("record", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise DataError(
            f"{marker} is not a checkpoint's state (step, next_group_id, passed_group_ids): {err!r}"
        ) from None
    return Checkpoint(folder=marker.parent, position=position, record=record, files=files)


def _folders(run_dir: Path) -> list[Path]:
    """Of checkpoints, whole or not. What a user put beside them, such as a copy under another name, is none."""
    found = (run_dir / "checkpoints").glob("step-*")
    return [path for path in found if path.name.removeprefix("step-").isdecimal()]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise DataError(f"{folder}: the checkpoint cannot be written: {err.strerror or err}") from err


def _seal(folder: Path, position: Position, record: Mapping[str, Any]) -> None:
    """The files reach the disk, then the marker, in one step."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise DataError(
            f"{folder}: the learner's machine saved the checkpoint into a folder of its own of that name; set run.dir "
            "to a folder that all machines share"
        )
    for path in paths:
        _sync(path)
    state: dict[str, Any] = {
        "step": position.step,
        "next_group_id": position.group_id,
        "passed_group_ids": list(position.passed),
        "record": record,
        "files": {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in paths},
    }
    state = json.loads(json.dumps(state))  # as it will be read
    part = folder / f"{STATE_FILE}.part"
    part.write_text(json.dumps({**state, SEAL: _sha256_of(state)}, indent=1) + "\n")
    _sync(part)
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        _sync(inner)
    os.replace(part, folder / STATE_FILE)
    _sync(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Its content, or a folder's list of names, from the system's memory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256_of(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _remove(folder: Path) -> None:
    """The marker first, so that no crash leaves a marker without its files."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
