"""Which worker is next: the one with the fewest calls under way."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager

KEPT, OVERTAKEN = 64, 4  # entries of the heap, and overtaken ones a worker, from which on it is made anew


class Balance:
    """Counts what each worker has under way; among equals the one that was used longest ago is next.

    A lease costs O(log workers): each change of a worker puts a new entry into the heap, and entries that have been
    overtaken are passed over, or dropped once there are many.
    """

    def __init__(self, workers: int) -> None:
        self._under_way = [0] * workers
        self._last_use = [0] * workers
        self._life = [0] * workers  # counts up when a worker leaves; its calls end in a life that is over
        self._uses = 0
        self._here = set(range(workers))
        self._heap = [(0, 0, 0, index) for index in range(workers)]  # a heap, as it is in order

    @property
    def here(self) -> frozenset[int]:
        """Workers that calls may go to."""
        return frozenset(self._here)

    @contextmanager
    def lease(self) -> Iterator[int]:
        """The worker's index; the worker counts as in use until the body ends. Raises LookupError with no worker."""
        index = self._next()
        life = self._life[index]
        self._uses += 1
        self._last_use[index] = self._uses
        self._change(index, by=1)
        try:
            yield index
        finally:
            if self._life[index] == life:
                self._change(index, by=-1)

    def leave(self, index: int) -> None:
        """No call goes to this worker any more; those under way there are no longer counted."""
        self._here.discard(index)
        self._life[index] += 1

    def join(self, index: int) -> None:
        """A new worker, with nothing under way, stands in the place of one that left."""
        self._under_way[index] = 0
        self._here.add(index)
        self._change(index, by=0)

    def add(self) -> int:
        """The index of one more worker, which is not here until it joins."""
        self._under_way.append(0)
        self._last_use.append(0)
        self._life.append(0)
        return len(self._life) - 1

    def _next(self) -> int:
        while self._heap:
            under_way, last_use, life, index = self._heap[0]
            newest = (self._under_way[index], self._last_use[index], self._life[index])
            if index in self._here and (under_way, last_use, life) == newest:
                return index
            heapq.heappop(self._heap)
        raise LookupError("no worker is here")

    def _change(self, index: int, *, by: int) -> None:
        self._under_way[index] += by
        heapq.heappush(self._heap, self._entry(index))
        if len(self._heap) > KEPT + OVERTAKEN * len(self._under_way):
            self._heap = sorted(self._entry(i) for i in self._here)

    def _entry(self, index: int) -> tuple[int, int, int, int]:
        return self._under_way[index], self._last_use[index], self._life[index], index
