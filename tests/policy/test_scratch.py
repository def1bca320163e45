"""Adapters in node-local memory: gone with their process, however it ends."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fundus_ray.errors import DeliveryError
from fundus_ray.policy.scratch import LockedFolder, check_room, memory_folder

HOLD = """
import sys, time
from pathlib import Path
from fundus_ray.policy.scratch import LockedFolder
print(LockedFolder(Path(sys.argv[1])).path, flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_a_folder_that_the_next_one_removes_and_a_live_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "adapter").write_text("weights")
        LockedFolder(tmp_path).close()
        assert (theirs / "adapter").is_file()  # its process lives
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=30)
        mine = LockedFolder(tmp_path)
        assert list(tmp_path.iterdir()) == [mine.path]
        mine.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_without_a_lock_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fundus-ray-of-something-else").mkdir()
    LockedFolder(tmp_path).close()
    assert (tmp_path / "fundus-ray-of-something-else").is_dir()


def test_a_machine_without_a_folder_in_memory_says_so_in_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert memory_folder(tmp_path) == tmp_path
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        assert memory_folder(tmp_path / "none") == Path(tempfile.gettempdir())
    assert f"{tmp_path}/none is not a folder to write to" in caplog.messages[0]


def test_adapters_that_do_not_fit_are_refused_with_the_numbers(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path, adapters=4, adapter_bytes=2**10)
    with pytest.raises(DeliveryError, match=r"MiB free, but 4 adapters of \d+ MiB may have to lie there .*--shm-size"):
        check_room(tmp_path, adapters=4, adapter_bytes=free // 3)
