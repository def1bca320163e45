"""Adapters in node-local memory: gone with their process, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from fundus_ray.policy.scratch import LockedFolder

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
