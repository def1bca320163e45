"""Which worker is next: the one with the fewest calls under way."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager


class Balance:
    """Counts what each worker has under way; among equals the one that was used longest ago is next.

    A lease costs O(log workers): each change of a worker puts a new entry into the heap, and entries that have been
    overtaken are passed over.
    """

    def __init__(self, workers: int) -> None:
        self._under_way = [0] * workers
        self._last_use = [0] * workers
        self._uses = 0
        self._heap = [(0, 0, index) for index in range(workers)]  # a heap, as it is in order

    @contextmanager
    def lease(self) -> Iterator[int]:
        """The worker's index; the worker counts as in use until the body ends."""
        index = self._next()
        self._uses += 1
        self._last_use[index] = self._uses
        self._change(index, by=1)
        try:
            yield index
        finally:
            self._change(index, by=-1)

    def _next(self) -> int:
        while True:
            under_way, last_use, index = self._heap[0]
            if (under_way, last_use) == (self._under_way[index], self._last_use[index]):
                return index
            heapq.heappop(self._heap)

    def _change(self, index: int, *, by: int) -> None:
        self._under_way[index] += by
        heapq.heappush(self._heap, (self._under_way[index], self._last_use[index], index))
