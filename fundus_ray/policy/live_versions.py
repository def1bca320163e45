"""Which policy versions an engine holds, which of them requests still need, and which can go.

In: versions as they arrive, which one new requests are to run under, and requests as they begin and end. Out: versions
to remove. Pure bookkeeping, for one event loop.

A version goes as soon as one that arrived later has taken its place and no request runs under it. (An earlier step may
arrive later: a checkpoint that is evaluated.) One that has arrived but is not yet served stays. So at the time of a
delivery there are at most those under which requests still run, the served one, and the new one: ceil(async_ratio) + 2
(`Config.needed_adapters`), since no trained group is older.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fundus_ray.errors import DeliveryError


class LiveVersions:
    """Policy steps, by arrival."""

    def __init__(self, places: int, *, worker: str) -> None:
        """places: most versions at once; `worker` is named in errors."""
        self._places = places
        self._worker = worker
        self._held: list[int] = []
        self._requests: Counter[int] = Counter()
        self._served = -1

    @property
    def held(self) -> tuple[int, ...]:
        """In order of arrival."""
        return tuple(self._held)

    def arrive(self, step: int) -> None:
        """Give the version a place. Raises DeliveryError where requests run under so many that none is left."""
        if step in self._held:
            return
        if len(self._held) >= self._places:
            running = ", ".join(f"{held}: {self._requests[held]}" for held in self._held)
            raise DeliveryError(
                f"{self._worker}: no place for policy version {step}; all {self._places} are in use "
                f"(version: requests under way: {running}); set rollout.max_loras higher"
            )
        self._held.append(step)

    def serve(self, step: int) -> None:
        """New requests run under this version from now on. Raises DeliveryError where it is not held."""
        self._check_held(step)
        self._served = step

    @contextmanager
    def lease(self, step: int) -> Iterator[None]:
        """Keep the version while the body runs. Raises DeliveryError where it is not held."""
        self._check_held(step)
        self._requests[step] += 1
        try:
            yield
        finally:
            self._requests[step] -= 1

    def retire(self) -> list[int]:
        """Versions that nobody needs any more; they are forgotten at once, so that none is leased meanwhile."""
        older = self._held[: self._held.index(self._served)] if self._served in self._held else []
        gone = [step for step in older if not self._requests[step]]
        for step in gone:
            self._held.remove(step)
            del self._requests[step]
        return gone

    def _check_held(self, step: int) -> None:
        if step not in self._held:
            held = ", ".join(map(str, self._held)) or "none"
            raise DeliveryError(f"{self._worker}: asked for policy version {step} but holds {held}")
