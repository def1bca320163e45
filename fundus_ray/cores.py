"""Which cores of its machine a process runs on. Linux; elsewhere there is nothing to pin with.

In: a setting as 0 or 0,2-5. Out: the process's affinity, of all the threads that it has and will have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fundus_ray.errors import ConfigError


def parse_cores(text: str, *, key: str) -> frozenset[int]:
    """The cores' numbers; none for "". Raises ConfigError, naming the setting `key`."""
    if not re.fullmatch(r"(\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*)?", text):
        raise ConfigError(f"{key}={text!r} must name cores as 0 or 0,2-5, or be empty for all of them")
    cores: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise ConfigError(f"{key}={text!r}: {part} ends before it begins; write {last}-{first}")
        cores.update(range(int(first), int(last or first) + 1))
    return frozenset(cores)


def check_cores(text: str, *, key: str) -> frozenset[int]:
    """The same, where this process may run on each of them. Raises ConfigError, as Linux leaves others out silently."""
    cores = parse_cores(text, key=key)
    _check_there(text, key=key, there=os.sched_getaffinity(0), cores=cores)
    return cores


def share_of_cores(text: str, *, key: str, part: int, parts: int) -> str:
    """The part-th of `parts` runs of these cores, as even as can be; all of them where they are fewer than parts."""
    cores = sorted(parse_cores(text, key=key))
    if parts == 1 or len(cores) < parts:
        return text
    ends = [len(cores) * i // parts for i in range(parts + 1)]
    return _written(set(cores[ends[part] : ends[part + 1]]))


def pin_process(text: str, *, key: str) -> None:
    """Keep this process, all its threads, on these cores; what it starts from now on inherits that. "" changes nothing.

    Raises ConfigError where one of the cores is not there. What the process inherited does not bind it.
    """
    cores = parse_cores(text, key=key)
    if not cores:
        return
    _pin_threads(cores)
    _check_there(text, key=key, there=os.sched_getaffinity(0), cores=cores)


@contextmanager
def pinned(text: str, *, key: str) -> Iterator[None]:
    """The same while the body runs; afterwards the cores are those from before. What was started meanwhile keeps its
    own."""
    before = os.sched_getaffinity(0)
    check_cores(text, key=key)
    pin_process(text, key=key)
    try:
        yield
    finally:
        if text:
            _pin_threads(frozenset(before))


def _pin_threads(cores: frozenset[int]) -> None:
    pinned: set[int] = set()
    while unpinned := {int(task.name) for task in Path("/proc/self/task").iterdir()} - pinned:
        # A thread that was not yet pinned may have started another one meanwhile.
        for thread in unpinned:
            try:
                os.sched_setaffinity(thread, cores)
            except ProcessLookupError:  # it has ended
                continue
        pinned |= unpinned


def _check_there(text: str, *, key: str, there: set[int], cores: frozenset[int]) -> None:
    if not cores <= there:
        raise ConfigError(
            f"{key}={text}: this machine lets the process run on cores {_written(there)} only; choose among them, or "
            "leave it empty"
        )


def _written(cores: set[int]) -> str:
    return ",".join(map(str, sorted(cores)))
