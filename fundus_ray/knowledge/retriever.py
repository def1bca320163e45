"""What rewards and traces need of a knowledge store, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fundus_ray.errors import FundusRayError
from fundus_ray.types import Evidence

MOST_PASSAGES = 10_000  # of one query: what an Elasticsearch index allows (its setting max_result_window)


class SearchError(FundusRayError):
    """The search engine failed: our fault, so what depends on it is unscorable, never zero."""


class Retriever(Protocol):
    """An opened store. `snapshot` names its content and the analysis of queries: the same for every store."""

    snapshot: str

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        """The k best passages of each query, best first; none for a query without words. Any text is a valid query.
        k is at most MOST_PASSAGES.

        Raises SearchError, naming the host or folder, where the store does not answer within its time limit and
        retries.
        """

    async def close(self) -> None:
        """Free connections."""
