"""Searches are made once for each query, in one batch, and counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fundus_ray.knowledge.evidence import evidence
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.types import Evidence


class Store:
    """Answers each query with a passage named after it; `down` makes it fail."""

    snapshot = "feed"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.down = False

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        self.asked.append(list(queries))
        if self.down:
            raise SearchError("down")
        return [evidence([(Passage(f"{q}#0", q, "", q, "", "", ""), 1.0)] * k, query=q) for q in queries]

    async def close(self) -> None:
        pass


async def test_answers_follow_the_queries_and_repeated_ones_are_searched_once() -> None:
    store = Store()
    search = EvidenceSearch(store, top_k=2)
    found = await search.search(["a", "b", "a"])
    assert [[e.query for e in part] for part in found] == [["a", "a"], ["b", "b"], ["a", "a"]]
    await search.search(["b", "c"])
    assert store.asked == [["a", "b"], ["c"]]
    assert (search.hits, search.misses) == (2, 3)


async def test_what_is_known_needs_no_search() -> None:
    store = Store()
    search = EvidenceSearch(store, top_k=1)
    await search.search(["a"])
    store.down = True
    assert (await search.search(["a", "a"]))[1][0].query == "a"
    assert await search.search([]) == []


async def test_a_failed_search_is_not_remembered() -> None:
    store = Store()
    search = EvidenceSearch(store, top_k=1)
    store.down = True
    with pytest.raises(SearchError):
        await search.search(["a"])
    store.down = False
    assert (await search.search(["a"]))[0][0].query == "a"
    assert (search.hits, search.misses) == (0, 1)


async def test_the_least_recently_used_query_is_forgotten_first() -> None:
    store = Store()
    search = EvidenceSearch(store, top_k=1, capacity=2)
    for queries in (["a", "b"], ["a"], ["c"], ["a"], ["b"]):
        await search.search(queries)
    assert store.asked == [["a", "b"], ["c"], ["b"]]
