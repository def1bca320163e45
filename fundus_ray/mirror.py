"""Checkpoints copied to another place, by its fsspec address (s3://..., file://..., gs://...).

In: checkpoints as they are written. Out: under ADDRESS/RUN/step-000010/ the same files, state.json last, so that one
counts there only once it is whole; the newest of them for a run whose own folder has none.

The run never waits for the other place: copies are made by a thread, one at a time. Of checkpoints that come while one
is being copied, the newest is next and the others are left out. A copy that has not ended after its time limit is given
up. What did not get there is counted (metrics mirror/*), and said the first time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import shutil
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TypeVar

from fundus_ray.checkpoints import STATE_FILE, check_whole, folder_of, read_marker
from fundus_ray.data.places import Place, place
from fundus_ray.errors import ConfigError, DataError, FundusRayError

log = logging.getLogger(__name__)
T = TypeVar("T")


def run_place(address: str, run_dir: Path) -> Place:
    """Where a run's checkpoints lie. Raises ConfigError where the address is of no kind that is known or installed."""
    try:
        return place(f"{address.rstrip('/')}/{run_dir.name}")
    except DataError as err:
        raise ConfigError(f"run.checkpoints={address}: {err}; install the package of this kind of address") from None


def check_place(address: str) -> None:
    """Before anything slow: an unknown kind of address must not wait for a checkpoint. Raises ConfigError."""
    if address:
        run_place(address, Path("run"))


class Mirror:
    """Of one run. For use inside one event loop."""

    def __init__(self, there: Place, *, keep: int, limit_s: float) -> None:
        """keep: checkpoints there, 0 = all; limit_s: longest copy of one [s]."""
        self._there = there
        self._keep = keep
        self._limit_s = limit_s
        self._next: Path | None = None
        self._now: Path | None = None
        self._task: asyncio.Task[None] | None = None
        self._copied, self._failed = 0, 0

    @property
    def held(self) -> Collection[Path]:
        """Checkpoints that are being copied or are next; they must stay until then."""
        return {folder for folder in (self._now, self._next) if folder is not None}

    @property
    def metrics(self) -> dict[str, float]:
        """Checkpoints so far: whole there, and not there."""
        return {"mirror/copied": float(self._copied), "mirror/failed": float(self._failed)}

    def offer(self, checkpoint: Path) -> None:
        """Copy this one next. Returns at once."""
        if self._next is not None:
            self._fail(f"{self._next.name} was overtaken by a newer checkpoint before its turn came")
        self._next = checkpoint
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._copy_all(), name="mirror of checkpoints")

    async def close(self) -> None:
        """Wait for the copies under way, each within its limit."""
        if self._task is not None:
            await self._task

    async def _copy_all(self) -> None:
        while self._next is not None:
            self._now, self._next = self._next, None
            try:
                await self._within(partial(put, self._now, self._there))
            except TimeoutError:
                self._fail(f"{self._now.name} did not get there within {self._limit_s:g} s (loop.stall_s)")
            except FundusRayError as err:
                self._fail(str(err))
            else:
                self._copied += 1
                await self._prune(self._now.name)
            finally:
                self._now = None

    async def _prune(self, written: str) -> None:
        """Apart from the copy, since one that was given up may go on at any time, and knows nothing of newer ones."""
        try:
            await self._within(partial(prune_there, self._there, written=written, keep=self._keep))
        except TimeoutError:
            log.warning("run.checkpoints: %s: old ones were not removed within %g s", self._there.name, self._limit_s)
        except FundusRayError as err:
            log.warning("run.checkpoints: %s: old ones were not removed: %s", self._there.name, err)

    async def _within(self, work: Callable[[], None]) -> None:
        await asyncio.wait_for(asyncio.wrap_future(in_thread(work)), self._limit_s)

    def _fail(self, why: str) -> None:
        if not self._failed:
            log.warning(
                "run.checkpoints: %s: %s\nThe run goes on; further ones are counted as mirror/failed",
                self._there.name,
                why,
            )
        self._failed += 1


def put(checkpoint: Path, there: Place) -> None:
    """Copy a checkpoint, whole or not at all. Raises DataError."""
    target = there.folder(checkpoint.name)
    target.remove(STATE_FILE)  # one that was here before counts no more
    for name in read_marker(checkpoint / STATE_FILE).files:
        target.put(checkpoint / name, name)
    target.write(STATE_FILE, (checkpoint / STATE_FILE).read_bytes())


def prune_there(there: Place, *, written: str, keep: int) -> None:
    """Remove all but the newest `keep` up to the one that was just `written` (0 = keep all), and those of later
    updates, which were taken back. Raises DataError."""
    names = _steps_there(there)
    at = names.index(written)
    for name in [*(names[: max(0, at + 1 - keep)] if keep else []), *names[at + 1 :]]:
        there.folder(name).remove(STATE_FILE)
        there.remove(name)


def get_newest(there: Place, run_dir: Path, *, limit_s: float) -> bool:
    """Copy the newest checkpoint that is whole there into the run's folder; whether there is one. Damaged ones are
    named in the log. Raises DataError where the place does not answer within limit_s."""
    try:
        return in_thread(lambda: _get_newest(there, run_dir)).result(limit_s)
    except concurrent.futures.TimeoutError:
        raise DataError(f"{there.name} gave no checkpoint within {limit_s:g} s (loop.stall_s)") from None


def _get_newest(there: Place, run_dir: Path) -> bool:
    for name in reversed(_steps_there(there)):
        part = run_dir / "checkpoints" / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            source = there.folder(name)
            (part / STATE_FILE).write_bytes(source.read(STATE_FILE))
            checkpoint = read_marker(part / STATE_FILE)
            for file in checkpoint.files:
                source.get(file, part / file)
            check_whole(checkpoint)
        except DataError as err:
            log.warning("%s\nThe checkpoint before it is taken, if there is one", err)
            shutil.rmtree(part, ignore_errors=True)
        else:
            final = folder_of(run_dir, checkpoint.position.step)
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
            return True
    return False


def _steps_there(there: Place) -> list[str]:
    """Names of the checkpoints' folders, whole or not, oldest first."""
    found = [name for name in there.names() if name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda name: int(name.removeprefix("step-")))


def in_thread(work: Callable[[], T]) -> concurrent.futures.Future[T]:
    """In a thread that nobody waits for at the end of the process. What the work raises is a DataError."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        future.set_running_or_notify_cancel()  # whoever gave up waiting does not cancel it
        try:
            future.set_result(work())
        except FundusRayError as err:
            future.set_exception(err)
        except Exception as err:  # noqa: BLE001  # every kind of place has errors of its own
            future.set_exception(DataError(f"{type(err).__name__}: {' '.join(str(err).split())}"))

    threading.Thread(target=run, name="mirror", daemon=True).start()
    return future
