"""An asyncio event loop whose clock jumps to the next timer instead of waiting for it: simulated hours in milliseconds.

In: a coroutine function whose waits are all asyncio's (sleep, timeout, events, queues). Out: what it returns. Real
input and output, threads and subprocesses are not supported: nothing would wait for them. Code that wants to run under
either clock reads `asyncio.get_running_loop().time()`, or `Trace(clock=loop.time)` for spans, never the `time` module.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
NAMED_TASKS = 5  # in the message of a deadlock


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run(main())` on a virtual clock that starts at 0 s.

    Raises RuntimeError, naming some of the tasks, where every task waits and no timer is set: a deadlock.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual [s]. It stands still while tasks run, and jumps when all of them wait."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def spend(self, seconds: float) -> None:
        """Let time pass while no task can run: what a call that computes for so long does to an event loop."""
        if not seconds >= 0:
            raise ValueError(f"cannot spend {seconds} s")
        self._now_s += seconds

    def _jump(self, wait_s: float | None) -> None:
        if wait_s is None:
            names = sorted(task.get_name() for task in asyncio.all_tasks(self))
            shown = ", ".join(names[:NAMED_TASKS]) + (f" and {n} more" if (n := len(names) - NAMED_TASKS) > 0 else "")
            raise RuntimeError(f"deadlock at {self._now_s:g} s: every task waits and no timer is set ({shown})")
        self._now_s += max(0.0, wait_s)


class _JumpingSelector(selectors.DefaultSelector):
    """Tells how long the event loop was ready to wait, then only looks whether anything is there."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now: in the middle of things nothing but a signal."""
        ready = super().select(0)
        if not ready:
            self._jump(timeout)
        return ready
