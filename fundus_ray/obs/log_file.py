"""A worker's own log file: what its process and its children print goes there instead of to the user's screen.

In: a path, at the start of a worker's process. Out: everything written to stdout and stderr, and the last lines of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL_BYTES = 16_384


def redirect_output(path: str | Path) -> None:
    """Append stdout and stderr of this process, and of children started from now on, to the file.

    Works on file descriptors 1 and 2, so that C++ libraries and subprocesses (vLLM's engine core) are caught as well.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """The same for the body alone; afterwards output goes where it went before."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    redirect_output(path)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def last_lines(path: Path, *, count: int) -> list[str]:
    """The last non-empty lines; none where the file does not exist on this machine."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
