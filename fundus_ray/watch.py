"""Whether a worker still does anything: a heartbeat that has to be answered, and work that has to move on.

In: a call that asks the worker for its pulse. Out: an error once it hangs, or is found dead. Pure asyncio.

Two ways to hang: the worker answers nothing (a frozen process, a dead connection), or it answers, has work, and none of
it moves (its engine waits for ever). Answers are counted and not seconds, so that a machine that was suspended, this
process with it, does not look like a worker that hangs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import NoReturn

from fundus_ray.errors import HungError
from fundus_ray.types import Pulse

PULSES, LONGEST_PAUSE_S = 10, 5.0  # pulses within the limit, at least; s between two
TRIES = 2  # a question that is not answered is asked once more: it may have been this process that stood still


async def watch(ask: Callable[[], Awaitable[Pulse]], *, name: str, hang_s: float) -> NoReturn:
    """Ask the worker until it hangs, for ever if it never does.

    Raises HungError after hang_s seconds without an answer, or in which it had work and nothing of it moved; what `ask`
    itself raises, as it is.
    """
    pause_s = min(LONGEST_PAUSE_S, hang_s / PULSES)
    allowed, unmoved = math.ceil(hang_s / pause_s), 0
    last: Pulse | None = None
    while True:
        pulse = await _answer(ask, name=name, hang_s=hang_s)
        stands = last is not None and pulse.working and pulse.moved == last.moved
        unmoved, last = (unmoved + 1 if stands else 0), pulse
        if unmoved >= allowed:
            raise HungError(f"{name} hangs: it has work and drew no token for {hang_s:g} s (rollout.hang_s)")
        await asyncio.sleep(pause_s)


async def _answer(ask: Callable[[], Awaitable[Pulse]], *, name: str, hang_s: float) -> Pulse:
    for _ in range(TRIES):
        try:
            async with asyncio.timeout(hang_s / TRIES) as limit:
                return await ask()
        except TimeoutError:
            if not limit.expired():
                raise
    raise HungError(f"{name} hangs: it answered nothing for {hang_s:g} s (rollout.hang_s)")
