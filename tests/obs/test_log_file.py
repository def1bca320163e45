"""A worker's log file, in a process of its own: file descriptors 1 and 2 are the test runner's here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fundus_ray.obs.log_file import TAIL_BYTES, last_lines

WORKER = """
import subprocess, sys
from fundus_ray.obs.log_file import redirect_output
print("before", flush=True)
redirect_output(sys.argv[1])
print("printed", flush=True)
print("complained", file=sys.stderr, flush=True)
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
"""


def test_output_of_a_process_and_its_children_goes_to_the_file_and_nowhere_else(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.log"
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(log)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("before\n", "")
    assert log.read_text().splitlines() == ["printed", "complained", "from a child"]


def test_last_lines_leave_out_empty_ones(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("one\n\ntwo\nthree\n\n")
    assert last_lines(log, count=2) == ["two", "three"]


def test_last_lines_read_only_the_end_of_a_long_file(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"\xff" * (3 * TAIL_BYTES) + b"\nlast\n")
    assert last_lines(log, count=1) == ["last"]


def test_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", count=3) == []
