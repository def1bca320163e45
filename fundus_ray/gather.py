"""Several waits at once.

In: coroutines. Out: their results in order, where one error ends all; or their errors, where each goes to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def all_or_first_error(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order. On the first error cancel the rest, wait for them to end, and raise it."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION) if tasks else (set(), set())
        failed = next((task for task in tasks if task in done and task.exception() is not None), None)
        return [task.result() for task in ([failed] if failed else tasks)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def errors_of(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[BaseException]:
    """Wait for all; what went wrong, in order."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [err for err in ended if isinstance(err, BaseException)]
