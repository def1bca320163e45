"""Checkpoints at another place: whole or not at all, and never in the run's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fundus_ray.checkpoints import latest_checkpoint, write_checkpoint
from fundus_ray.config import load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.loop import Position
from fundus_ray.mirror import Mirror, get_newest, prune_there, put, run_place
from fundus_ray.resume import last_of

ADDRESS = "memory://mirror/runs"


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()
    StuckFileSystem.go_on.set()


class StuckFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Answers no upload until `go_on`."""

    protocol = "stuck"
    go_on = threading.Event()

    def put_file(self, *args: object, **kwargs: object) -> None:
        self.go_on.wait(60)
        super().put_file(*args, **kwargs)


fsspec.register_implementation("stuck", StuckFileSystem, clobber=True)


class KeepingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Lets nothing be removed, as a bucket without that right."""

    protocol = "keeping"

    def rm(self, path: str, *args: object, **kwargs: object) -> None:
        if path.rpartition("/")[2].startswith("step-"):
            raise PermissionError("no right to delete")
        super().rm(path, *args, **kwargs)


fsspec.register_implementation("keeping", KeepingFileSystem, clobber=True)


async def checkpoint(run_dir: Path, step: int) -> Path:
    async def save(folder: str) -> None:
        (Path(folder) / "adapter").mkdir()
        (Path(folder) / "adapter" / "weights.bin").write_bytes(b"weights %d" % step)

    return await write_checkpoint(run_dir, Position(step=step, group_id=8 * step), save=save)


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_run_whose_folder_has_no_checkpoint_goes_on_from_the_newest_that_was_copied(
    tmp_path: Path, kind: str
) -> None:
    address = ADDRESS if kind == "memory" else f"file://{tmp_path}/mirror"
    mirror = Mirror(run_place(address, tmp_path / "run"), keep=0, limit_s=60)
    for step in (1, 2):
        mirror.offer(await checkpoint(tmp_path / "run", step))
        await mirror.close()
    assert mirror.metrics == {"mirror/copied": 2, "mirror/failed": 0}
    moved = tmp_path / "elsewhere" / "run"
    moved.mkdir(parents=True)
    found = last_of(moved, load(None, [f"run.checkpoints={address}"]))
    assert found.position == Position(step=2, group_id=16)
    assert (found.folder / "adapter" / "weights.bin").read_bytes() == b"weights 2"
    assert found == latest_checkpoint(moved)
    with pytest.raises(DataError, match="other holds no complete checkpoint"):
        last_of(tmp_path / "other", load(None, [f"run.checkpoints={address}"]))


async def test_the_next_older_one_is_taken_where_the_newest_is_damaged_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = run_place(ADDRESS, tmp_path / "run")
    for step in (1, 2, 3):
        put(await checkpoint(tmp_path / "run", step), there)
    there.folder("step-000003").remove("state.json")  # as of a copy that was cut short
    there.folder("step-000002").write("adapter/weights.bin", b"weights X")
    assert get_newest(there, tmp_path / "new", limit_s=60)
    found = latest_checkpoint(tmp_path / "new")
    assert found is not None
    assert found.position.step == 1
    assert "the checkpoint is damaged: SHA-256" in caplog.text
    assert [path.name for path in (tmp_path / "new" / "checkpoints").iterdir()] == ["step-000001"]


async def test_only_the_newest_are_kept_there_and_none_of_updates_that_were_taken_back(tmp_path: Path) -> None:
    there = run_place(ADDRESS, tmp_path / "run")
    for step in (10, 20, 30, 40):
        put(await checkpoint(tmp_path / "run", step), there)
        prune_there(there, written=f"step-{step:06d}", keep=2)
    assert there.names() == ["step-000030", "step-000040"]
    put(await checkpoint(tmp_path / "run", 35), there)
    prune_there(there, written="step-000035", keep=2)
    assert there.names() == ["step-000030", "step-000035"]


async def test_a_place_that_hangs_does_not_hold_the_run_up_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StuckFileSystem.go_on.clear()
    mirror = Mirror(run_place("stuck://mirror", tmp_path / "run"), keep=0, limit_s=0.05)
    folders = [await checkpoint(tmp_path / "run", step) for step in (1, 2, 3)]
    mirror.offer(folders[0])
    await asyncio.sleep(0)
    mirror.offer(folders[1])
    assert set(mirror.held) == {folders[0], folders[1]}  # not to be removed meanwhile
    mirror.offer(folders[2])  # takes the place of the second
    await mirror.close()
    assert mirror.metrics == {"mirror/copied": 0, "mirror/failed": 3}
    assert mirror.held == set()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("run.checkpoints: stuck://mirror/run: step-000002 was overtaken")
    StuckFileSystem.go_on.set()
    again = Mirror(run_place("stuck://mirror", tmp_path / "run"), keep=1, limit_s=60)
    again.offer(folders[2])
    await again.close()
    assert again.metrics == {"mirror/copied": 1, "mirror/failed": 0}


async def test_what_goes_wrong_there_is_counted_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    mirror = Mirror(run_place(f"file://{tmp_path}/file", tmp_path / "run"), keep=0, limit_s=60)
    mirror.offer(await checkpoint(tmp_path / "run", 1))
    await mirror.close()
    assert mirror.metrics == {"mirror/copied": 0, "mirror/failed": 1}
    assert "adapter/weights.bin cannot be" in caplog.text


async def test_a_checkpoint_that_got_there_counts_also_where_old_ones_cannot_be_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(run_place("keeping://mirror", tmp_path / "run"), keep=1, limit_s=60)
    for step in (1, 2):
        mirror.offer(await checkpoint(tmp_path / "run", step))
        await mirror.close()
    assert mirror.metrics == {"mirror/copied": 2, "mirror/failed": 0}
    assert "old ones were not removed: " in caplog.text
    assert "no right to delete" in caplog.text


def test_an_address_that_cannot_be_used_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"run\.checkpoints=nosuch://bucket: .*nosuch"):
        run_place("nosuch://bucket", Path("run"))
    with pytest.raises(ConfigError, match=r"run\.checkpoints=bucket/runs must be an address"):
        load(None, ["run.checkpoints=bucket/runs"])


def test_what_is_evaluated_at_the_end_must_be_kept() -> None:
    with pytest.raises(ConfigError, match=r"run\.keep_checkpoints=2 with evaluate\.checkpoints=true"):
        load(None, ["run.keep_checkpoints=2", "evaluate.checkpoints=true"])
