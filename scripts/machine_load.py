"""How busy the machine is with other work. Linux: from /proc/stat."""

from __future__ import annotations

import time
from pathlib import Path

STAT = Path("/proc/stat")


def busy_cores(*, over_s: float, stat: Path = STAT) -> float:
    """How many cores were at work in the next `over_s` seconds, on average."""
    before, began = busy_seconds(stat.read_text()), time.perf_counter()
    time.sleep(over_s)
    return (busy_seconds(stat.read_text()) - before) / (time.perf_counter() - began)


def busy_seconds(text: str, *, ticks_a_second: int = 100) -> float:
    """CPU seconds since the start of the machine, of all cores: user, nice, system, interrupts and stolen time; not
    idle and not waiting for a disk (proc(5), first line of /proc/stat)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, text.splitlines()[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_a_second
