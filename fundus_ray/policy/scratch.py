"""A folder in memory that lives as long as its process, also where the process is killed: the next one to start removes
it.

In: a parent folder, as a rule node-local memory. Out: `LockedFolder`, and whether adapters fit into it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

from fundus_ray.errors import DeliveryError

log = logging.getLogger(__name__)
MEMORY = Path("/dev/shm")  # a file system in memory, on Linux
PREFIX = "fundus-ray-"
LOCK_FILE = "LOCK"


class LockedFolder:
    """A new folder whose lock file this process holds; the kernel frees the lock however the process ends.

    A lock and not a process id, since containers may share the memory folder but not their ids.
    """

    def __init__(self, parent: Path) -> None:
        """Removes this user's folders in `parent` that nobody holds any more."""
        for folder in parent.glob(f"{PREFIX}*"):
            _remove_if_abandoned(folder)
        hidden = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
        self._lock = os.open(hidden / LOCK_FILE, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = parent / hidden.name.removeprefix(".")
        hidden.rename(self.path)  # under its final name it is locked from the first moment on

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def memory_folder(memory: Path = MEMORY) -> Path:
    """Node-local memory; where the system has none, the folder for temporary files, with a warning in the log."""
    if memory.is_dir() and os.access(memory, os.W_OK):
        return memory
    fall_back = Path(tempfile.gettempdir())
    log.warning("%s is not a folder to write to: adapters go through %s, which may be a disk", memory, fall_back)
    return fall_back


def check_room(folder: Path, *, adapters: int, adapter_bytes: int) -> None:
    """Whether so many adapters of this size fit beside what lies there. Raises DeliveryError with the numbers."""
    free, needed = shutil.disk_usage(folder).free, adapters * adapter_bytes
    if needed > free:
        raise DeliveryError(
            f"{folder} has {free / 2**20:.0f} MiB free, but {adapters} adapters of {adapter_bytes / 2**20:.0f} MiB may "
            "have to lie there at once; make it larger (a container's --shm-size), or lower policy.lora_rank or "
            "loop.async_ratio"
        )


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:  # another user's, or just being removed
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(lock)
