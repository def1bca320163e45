"""Claims in, verdicts out: each new one is checked once, in one batch, and remembered.

The rollouts of a group, and of later groups, state much the same relations. A store is one snapshot that never changes
and a checker gives the same claim the same verdict, so finding, label, direction and modality are the key of a cache
that belongs to one store; the passages follow from them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from fundus_ray.reward.breaker import CircuitBreaker
from fundus_ray.reward.checkers.checker import CheckedVerdict, Checker, Claim
from fundus_ray.types import Evidence, Modality

CACHED_VERDICTS = 16384

Key = tuple[str, str, bool, Modality]  # finding, label, supports, modality


class GuardedChecker:
    """A checker behind a circuit breaker."""

    def __init__(self, checker: Checker, breaker: CircuitBreaker) -> None:
        self.name = checker.name
        self._checker = checker
        self._breaker = breaker

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        """As Checker.check. Raises CheckerError also at once, while the breaker is open."""
        return await self._breaker.call(lambda: self._checker.check(claims))

    async def close(self) -> None:
        """Stop what the checker runs."""
        await self._checker.close()


class Verdicts:
    """`hits` counts claims answered from the cache, `misses` those that were checked. For one event loop."""

    def __init__(self, checker: Checker, *, capacity: int = CACHED_VERDICTS) -> None:
        self.checker = checker
        self.hits, self.misses = 0, 0
        self._capacity = capacity
        self._known: OrderedDict[Key, CheckedVerdict] = OrderedDict()  # least recently used first

    def recall(self, keys: Sequence[Key]) -> dict[Key, CheckedVerdict]:
        """Those of the keys that need neither search nor check."""
        known = {key: self._known[key] for key in keys if key in self._known}
        self.hits += sum(key in known for key in keys)
        for key in known:
            self._known.move_to_end(key)
        return known

    async def check(self, passages: Mapping[Key, tuple[Evidence, ...]]) -> dict[Key, CheckedVerdict]:
        """The verdicts on claims by what was found on each, all in one call. Raises CheckerError; nothing is remembered
        of a check that failed."""
        if not passages:
            return {}
        found = await self.checker.check([Claim(*key, passages=about) for key, about in passages.items()])
        self.misses += len(passages)
        verdicts = dict(zip(passages, found, strict=True))
        self._known.update(verdicts)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return verdicts
