"""Queries in, evidence out: one batched search for all that are new, a cache for the rest.

The rollouts of a group, and of later groups about the same diseases, ask for much the same; a store is one snapshot
that never changes, so the query alone is the key of a cache that belongs to one store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.reward.breaker import CircuitBreaker
from fundus_ray.types import Evidence

CACHED_QUERIES = 4096


class GuardedRetriever:
    """A store behind a circuit breaker."""

    def __init__(self, retriever: Retriever, breaker: CircuitBreaker) -> None:
        self.snapshot = retriever.snapshot
        self._retriever = retriever
        self._breaker = breaker

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        """As Retriever.search. Raises SearchError also at once, while the breaker is open."""
        return await self._breaker.call(lambda: self._retriever.search(queries, k=k))

    async def close(self) -> None:
        """Free connections."""
        await self._retriever.close()


class EvidenceSearch:
    """`hits` counts queries answered from the cache, `misses` those that were searched. For one event loop."""

    def __init__(self, retriever: Retriever, *, top_k: int, capacity: int = CACHED_QUERIES) -> None:
        self.snapshot = retriever.snapshot
        self.hits, self.misses = 0, 0
        self._retriever = retriever
        self._top_k = top_k
        self._capacity = capacity
        self._known: OrderedDict[str, tuple[Evidence, ...]] = OrderedDict()  # least recently used first

    async def search(self, queries: Sequence[str]) -> list[tuple[Evidence, ...]]:
        """The best passages of each query. Raises SearchError; nothing is remembered of a search that failed."""
        wanted = list(dict.fromkeys(queries))
        answers = {query: self._known[query] for query in wanted if query in self._known}
        new = [query for query in wanted if query not in answers]
        if new:
            answers |= zip(new, await self._retriever.search(new, k=self._top_k), strict=True)
        self.misses += len(new)
        self.hits += len(queries) - len(new)
        for query in wanted:
            self._known[query] = answers[query]
            self._known.move_to_end(query)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return [answers[query] for query in queries]
