"""Asked to stop: by Ctrl-C, or by SIGTERM as `ray job stop`, Slurm and Kubernetes send it.

In: the two signals. Out: an event that the stages look at, and afterwards whether it was SIGTERM: that is how a
scheduler ends a run, so a run that ended in order is done, while Ctrl-C has its own exit code.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Termination:
    """The handler of SIGTERM: does what Ctrl-C does, and remembers that it was asked for."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        """The signal."""
        self.asked = True
        signal.raise_signal(signal.SIGINT)


@contextmanager
def orderly_stop(stop: asyncio.Event, *, say: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM sets the event; the second one cancels this task, and no longer counts as order."""
    running, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int) -> None:
        first, handler = not stop.is_set(), before[signal.SIGTERM]
        if isinstance(handler, Termination):
            handler.asked = first and number == signal.SIGTERM
        if first:
            stop.set()
            say("stopping: an update under way ends and a checkpoint is written; once more to stop at once")
        else:
            task.cancel()

    for number in numbers:
        running.add_signal_handler(number, ask, number)
    try:
        yield
    finally:
        for number in numbers:
            running.remove_signal_handler(number)
            signal.signal(number, before[number])


async def until_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """What the work returns, or raises; None where the event came first, and the work was cancelled."""
    task, asked = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        asked.cancel()
        await asyncio.gather(task, asked, return_exceptions=True)
