"""Which policy versions an engine holds, which of them requests still need, and which can go.

In: versions as they arrive, which one new requests are to run under, and requests as they begin and end. Out: versions
to remove. Pure bookkeeping, for one event loop.

A version goes as soon as one that arrived later has taken its place and no request runs under it. (An earlier step may
arrive later: a checkpoint that is evaluated.) One that has arrived but is not yet served stays. So at the time of a
delivery there are at most those under which requests still run, the served one, and the new one: ceil(async_ratio) + 2
(`Config.needed_adapters`), since no trained group is older.

A version is its step and its hash: after a learner was restored, a step may be made anew with other weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fundus_ray.errors import DeliveryError
from fundus_ray.types import PolicyVersion


class LiveVersions:
    """Policy versions, by arrival."""

    def __init__(self, places: int, *, worker: str) -> None:
        """places: most versions at once; `worker` is named in errors."""
        self._places = places
        self._worker = worker
        self._held: list[PolicyVersion] = []
        self._requests: Counter[PolicyVersion] = Counter()
        self._served: PolicyVersion | None = None

    @property
    def held(self) -> tuple[PolicyVersion, ...]:
        """In order of arrival."""
        return tuple(self._held)

    def arrive(self, version: PolicyVersion) -> None:
        """Give the version a place; one that is held is now the last to have arrived. Raises DeliveryError where
        requests run under so many that none is left."""
        if version in self._held:
            self._held.remove(version)
        if len(self._held) >= self._places:
            names = self._names(self._held)
            running = ", ".join(f"{name}: {self._requests[v]}" for name, v in zip(names, self._held, strict=True))
            raise DeliveryError(
                f"{self._worker}: no place for policy version {version.step}; all {self._places} are in use "
                f"(version: requests under way: {running}); set rollout.max_loras higher"
            )
        self._held.append(version)

    def serve(self, version: PolicyVersion) -> None:
        """New requests run under this version from now on. Raises DeliveryError where it is not held."""
        self._check_held(version)
        self._served = version

    @contextmanager
    def lease(self, version: PolicyVersion) -> Iterator[None]:
        """Keep the version while the body runs. Raises DeliveryError where it is not held."""
        self._check_held(version)
        self._requests[version] += 1
        try:
            yield
        finally:
            self._requests[version] -= 1

    def retire(self) -> list[PolicyVersion]:
        """Versions that nobody needs any more; they are forgotten at once, so that none is leased meanwhile."""
        older = self._held[: self._held.index(self._served)] if self._served in self._held else []
        gone = [version for version in older if not self._requests[version]]
        for version in gone:
            self._held.remove(version)
            del self._requests[version]
        return gone

    def _check_held(self, version: PolicyVersion) -> None:
        if version not in self._held:
            asked, *held = self._names([version, *self._held])
            raise DeliveryError(
                f"{self._worker}: asked for policy version {asked} but holds {', '.join(held) or 'none'}"
            )

    @staticmethod
    def _names(versions: Sequence[PolicyVersion]) -> list[str]:
        """Their steps; with the hash where one step was made twice."""
        times = Counter(version.step for version in versions)
        return [f"{v.step} ({v.sha256[:8]})" if times[v.step] > 1 else str(v.step) for v in versions]
