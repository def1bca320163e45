"""A circuit breaker: calls to a server that is down fail at once instead of each waiting for it.

    closed --(FAILURES in a row)--> open --(pause over)--> half-open: one call goes, as a probe
       ^_____________________________ probe worked ___________|   probe failed: open again, for twice as long

After Nygard, Release It! (2nd edition, 2018), chapter 5. For one event loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from fundus_ray.errors import FundusRayError

FAILURES = 3  # in a row open it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0

T = TypeVar("T")


class BreakerState(str, Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class CircuitBreaker:
    """Before one dependency. `failed` counts the calls that were made and failed; those refused are not among them."""

    def __init__(
        self,
        failure: type[FundusRayError],
        *,
        doing: str,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`failure`: what the dependency raises where it is down, and what is raised here; `doing`: the call in words;
        limit_s: longest call [s]."""
        self.failed = 0
        self._failure = failure
        self._doing = doing
        self._limit_s = limit_s
        self._clock = clock
        self._in_a_row = 0
        self._down_since = 0.0
        self._last = ""
        self._pause_s = 0.0  # nominal length of the pause under way
        self._open_until = 0.0
        self._probing = False

    @property
    def works(self) -> bool:
        """Whether the last call that ended did so well, or none has been made."""
        return not self._in_a_row

    @property
    def down_s(self) -> float:
        """Seconds since the first of the failures in a row; 0 where the last call worked."""
        return self._clock() - self._down_since if self._in_a_row else 0.0

    @property
    def state(self) -> BreakerState:
        """Closed, open, or half-open: the pause is over and the next call is, or one under way is, the probe."""
        if self._in_a_row < FAILURES:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.blocked_s and not self._probing else BreakerState.HALF_OPEN

    @property
    def blocked_s(self) -> float:
        """Seconds until a call may go; 0 where it may go now. While a probe is under way, the shortest pause."""
        if self._in_a_row < FAILURES:
            return 0.0
        return FIRST_PAUSE_S if self._probing else max(0.0, self._open_until - self._clock())

    async def call(self, request: Callable[[], Awaitable[T]]) -> T:
        """The request's answer. Raises `failure`: the request's own, where it takes longer than limit_s, and at once
        where the breaker is open. Everything else that the request raises passes through and counts for nothing."""
        if self.blocked_s:
            raise self._failure(f"{self._last} (not asked again before a pause is over)")
        probe = self._in_a_row >= FAILURES
        self._probing = self._probing or probe
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await request()
        except TimeoutError:
            self._count(f"{self._doing} took longer than reward.timeout_s={self._limit_s:g}", probe=probe)
            raise self._failure(self._last) from None
        except self._failure as err:
            self._count(str(err), probe=probe)
            raise
        else:
            self._in_a_row, self._pause_s = 0, 0.0
            return answer
        finally:
            if probe:  # also where the caller was cancelled
                self._probing = False

    def _count(self, reason: str, *, probe: bool) -> None:
        self.failed += 1
        self._down_since = self._down_since if self._in_a_row else self._clock()
        self._in_a_row += 1
        self._last = reason
        # Calls that were under way when it opened must not lengthen the pause.
        if probe or self._in_a_row == FAILURES:
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
            # Drawn, so that many workers do not come back at once.
            self._open_until = self._clock() + random.uniform(0.5, 1.0) * self._pause_s
