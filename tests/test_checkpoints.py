"""What counts as a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_ray.checkpoints import Checkpoint, checkpoints, latest_checkpoint, prune, read_marker, write_checkpoint
from fundus_ray.errors import DataError
from fundus_ray.loop import Position

WEIGHTS = hashlib.sha256(b"weights").hexdigest()


async def save(folder: str) -> None:
    (Path(folder) / "adapter.bin").write_bytes(b"weights")


async def test_written_checkpoint_is_found_with_its_position(tmp_path: Path) -> None:
    position = Position(step=10, group_id=321, passed=(323, 330))
    folder = await write_checkpoint(tmp_path, position, save=save)
    assert folder == tmp_path / "checkpoints" / "step-000010"
    state = json.loads((folder / "state.json").read_text())
    assert {"step": 10, "next_group_id": 321, "passed_group_ids": [323, 330]}.items() <= state.items()
    assert (folder / "adapter.bin").read_bytes() == b"weights"
    found = latest_checkpoint(tmp_path)
    assert found == Checkpoint(folder=folder, position=position, files={"adapter.bin": WEIGHTS})


async def test_what_a_run_is_made_from_is_kept_beside_its_position(tmp_path: Path) -> None:
    record = {"settings": {"learner.kl": 0.0, "run.name": "a"}, "knowledge": "abc"}
    await write_checkpoint(tmp_path, Position(step=1, group_id=8), save=save, record=record)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.record == record


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


def test_checkpoint_of_an_older_version_counts_though_it_holds_no_hashes(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step-000002"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"step": 2, "next_group_id": 16, "passed_group_ids": []}')
    found = latest_checkpoint(tmp_path)
    assert found == Checkpoint(folder=folder, position=Position(step=2, group_id=16))


BROKEN = [
    "",
    "{}",
    '{"step": 2}',
    '{"step": 2, "next_group_id": 1}',
    '{"step": "x", "next_group_id": 1, "passed_group_ids": []}',
    '{"step": 2, "next_group_id": 1, "passed_group_ids": 3}',
    '{"step": 2, "next_group_id": 1, "passed_group_ids": [], "files": 3}',
    '{"step": 2, "next_group_id": 1, "passed_group_ids": [], "state_sha256": "ab"}',
    "[]",
]


@pytest.mark.parametrize("text", BROKEN)
async def test_broken_marker_is_named_and_stands_in_nobodys_way(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2, 3):
        await write_checkpoint(tmp_path, Position(step=step, group_id=8 * step), save=save)
    marker = tmp_path / "checkpoints" / "step-000002" / "state.json"
    marker.write_text(text)
    with pytest.raises(DataError, match=r"step-000002/state\.json is not a checkpoint's state"):
        read_marker(marker)
    assert [one.position.step for one in checkpoints(tmp_path)] == [1, 3]
    assert "step-000002/state.json is not a checkpoint's state" in caplog.text
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.position.step == 3


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["adapter.bin", "state.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-3])])
async def test_the_next_older_checkpoint_is_taken_where_a_file_of_the_newest_is_damaged(
    tmp_path: Path, name: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        await write_checkpoint(tmp_path, Position(step=step, group_id=8 * step), save=save)
    damage(tmp_path / "checkpoints" / "step-000002" / name)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.position.step == 1
    if (tmp_path / "checkpoints" / "step-000002" / "state.json").exists():  # else it is none
        (record,) = caplog.records
        assert f"step-000002/{name}" in record.getMessage()


async def test_only_the_newest_are_kept_and_none_that_is_still_read(tmp_path: Path) -> None:
    folders = {
        step: await write_checkpoint(tmp_path, Position(step=step, group_id=step), save=save)
        for step in range(0, 60, 10)
    }
    prune(tmp_path, written=folders[50], keep=0)
    assert [c.position.step for c in checkpoints(tmp_path)] == [0, 10, 20, 30, 40, 50]
    prune(tmp_path, written=folders[50], keep=3, held={folders[10]})
    assert [c.position.step for c in checkpoints(tmp_path)] == [10, 30, 40, 50]
    prune(tmp_path, written=folders[50], keep=3)
    assert [c.position.step for c in checkpoints(tmp_path)] == [30, 40, 50]


@pytest.mark.parametrize("keep", [0, 1])
async def test_checkpoints_of_updates_that_were_taken_back_go_with_the_next_one(tmp_path: Path, keep: int) -> None:
    for step in (10, 20):
        await write_checkpoint(tmp_path, Position(step=step, group_id=step), save=save)
    # A run that goes on from update 10, as the one after it is damaged, and writes its next one at 15.
    written = await write_checkpoint(tmp_path, Position(step=15, group_id=15), save=save)
    prune(tmp_path, written=written, keep=keep)
    assert [c.position.step for c in checkpoints(tmp_path)] == ([15] if keep else [10, 15])


async def test_what_a_user_put_beside_them_is_no_checkpoint_and_stays(tmp_path: Path) -> None:
    first = await write_checkpoint(tmp_path, Position(step=10, group_id=1), save=save)
    kept = first.with_name("step-000010-good")
    shutil.copytree(first, kept)
    written = await write_checkpoint(tmp_path, Position(step=20, group_id=2), save=save)
    prune(tmp_path, written=written, keep=1)
    assert [c.folder for c in checkpoints(tmp_path)] == [written]
    assert (kept / "state.json").is_file()


async def test_a_checkpoint_that_was_saved_on_another_machine_does_not_count(tmp_path: Path) -> None:
    async def elsewhere(folder: str) -> None:
        pass

    with pytest.raises(DataError, match=r"step-000010: the learner's machine .*; set run\.dir to a folder that all"):
        await write_checkpoint(tmp_path, Position(step=10, group_id=1), save=elsewhere)
    assert latest_checkpoint(tmp_path) is None
