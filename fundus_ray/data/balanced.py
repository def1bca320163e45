"""An even order of prompts: what is asked seldom comes as often as what is asked of every image.

In: the samples, a seed and a position. Out: the sample at that position, which follows from the three alone, so that a
resumed run goes on exactly where it stopped. Our own choice: the published recipe's mixture is unknown.

Where plain accuracy is rewarded on questions as they lie in a set, the commonest answer is the best guess for a policy
that sees little, and a benchmark that scores by sensitivity and specificity gives it zero for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus_ray.types import Sample


@dataclass(frozen=True, slots=True)
class _Rows:
    """Samples that share task, question and right answer, by their places in the data."""

    name: int
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Branch:
    """What is gone through in turn."""

    name: int
    parts: tuple[_Branch | _Rows, ...]


class BalancedOrder:
    """Every round goes through all tasks once; the rounds of a task through its questions, those of a question through
    its right answers, those of an answer through its samples, each time in an order of its own.

    A sample of a rare answer so comes more often than one of a common answer: there are no epochs.
    """

    def __init__(self, samples: Iterable[Sample], *, seed: int) -> None:
        """Goes through `samples` once; kept are 8 bytes of each, and about 300 of each different question and answer.
        Raises ValueError where there are none."""
        tree: dict[str, dict[str, dict[tuple[str, ...], list[int]]]] = {}
        for row, sample in enumerate(samples):
            tree.setdefault(sample.task, {}).setdefault(sample.question, {}).setdefault(sample.answer, []).append(row)
        if not tree:
            raise ValueError("no samples to order")
        self._root = _branch((), tree)
        self._seed = seed

    def row_at(self, position: int) -> int:
        """The place in the data of the sample at `position` >= 0."""
        node: _Branch | _Rows = self._root
        visit = position
        while isinstance(node, _Branch):
            visit, turn = divmod(visit, len(node.parts))
            node = node.parts[int(_shuffled(len(node.parts), self._seed, node.name, visit)[turn])]
        epoch, turn = divmod(visit, len(node.rows))
        return int(node.rows[_shuffled(len(node.rows), self._seed, node.name, epoch)[turn]])


def _branch(path: Sequence[Any], tree: Mapping[Any, Any]) -> _Branch:
    """Parts in the order of their names, so that the order of the data does not matter more than it must."""
    return _Branch(_name(path), tuple(_part((*path, key), tree[key]) for key in sorted(tree)))


def _part(path: Sequence[Any], below: Any) -> _Branch | _Rows:
    if isinstance(below, Mapping):
        return _branch(path, below)
    return _Rows(_name(path), np.array(below, dtype=np.int64))


def _name(path: Sequence[Any]) -> int:
    return int.from_bytes(hashlib.sha256(repr(tuple(path)).encode()).digest()[:8])


@lru_cache(maxsize=1 << 16)  # 8 bytes a sample of the answer, and about 200, for each that was gone through
def _shuffled(count: int, seed: int, name: int, time: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, name, time]).permutation(count)
