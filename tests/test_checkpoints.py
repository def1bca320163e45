"""What counts as a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_ray.checkpoints import Checkpoint, checkpoints, latest_checkpoint, write_checkpoint
from fundus_ray.errors import DataError
from fundus_ray.loop import Position


async def save(folder: str) -> None:
    (Path(folder) / "adapter.bin").write_bytes(b"weights")


async def test_written_checkpoint_is_found_with_its_position(tmp_path: Path) -> None:
    position = Position(step=10, group_id=321, passed=(323, 330))
    folder = await write_checkpoint(tmp_path, position, save=save)
    assert folder == tmp_path / "checkpoints" / "step-000010"
    state = {"step": 10, "next_group_id": 321, "passed_group_ids": [323, 330]}
    assert json.loads((folder / "state.json").read_text()) == state
    assert (folder / "adapter.bin").read_bytes() == b"weights"
    assert latest_checkpoint(tmp_path) == Checkpoint(folder=folder, position=position)


async def test_newest_is_by_step_and_not_by_time(tmp_path: Path) -> None:
    await write_checkpoint(tmp_path, Position(step=1_000_000, group_id=2), save=save)
    await write_checkpoint(tmp_path, Position(step=999_999, group_id=1), save=save)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.position.step == 1_000_000
    assert [one.position.step for one in checkpoints(tmp_path)] == [999_999, 1_000_000]


async def test_checkpoint_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    async def fail(folder: str) -> None:
        await save(folder)
        raise OSError("disk is full")

    await write_checkpoint(tmp_path, Position(step=1, group_id=8), save=save)
    with pytest.raises(OSError, match="disk is full"):
        await write_checkpoint(tmp_path, Position(step=2, group_id=16), save=fail)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.position == Position(step=1, group_id=8)


async def test_leftovers_of_an_earlier_attempt_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / "step-000002" / "old.bin"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"old")
    await write_checkpoint(tmp_path, Position(step=2, group_id=16), save=save)
    assert not leftover.exists()


def test_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"step": 2}',
        '{"step": 2, "next_group_id": 1}',
        '{"step": "x", "next_group_id": 1, "passed_group_ids": []}',
        '{"step": 2, "next_group_id": 1, "passed_group_ids": 3}',
        "[]",
    ],
)
def test_broken_marker_is_named(tmp_path: Path, text: str) -> None:
    marker = tmp_path / "checkpoints" / "step-000002" / "state.json"
    marker.parent.mkdir(parents=True)
    marker.write_text(text)
    with pytest.raises(DataError, match=r"step-000002/state\.json"):
        latest_checkpoint(tmp_path)
