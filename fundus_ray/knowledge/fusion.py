"""Rankings in, one ranking out: the order of equal scores, and reciprocal rank fusion. Both stores use this code, so
that they order alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

RRF_K = 60
DEPTH = 50  # best passages of each ranking that fusion sees
SLACK = 16  # further passages to ask an engine for, so that ties at the cut are broken here and not by the engine
_DIGITS = 5  # scores that agree in so many digits are ties: engines sum float32 in different orders


class _Sortable(Protocol):
    """A passage's key in a store: hashable, and ordered as the passages' ids are."""

    def __lt__(self, other: Any, /) -> bool: ...

    def __hash__(self) -> int: ...


Key = TypeVar("Key", bound=_Sortable)


def best_first(hits: Iterable[tuple[Key, float]]) -> list[tuple[Key, float]]:
    """Hits by score, largest first; ties by key. Scores within 1e-5 of each other (relative) may count as ties."""
    return sorted(hits, key=lambda hit: (-float(f"{hit[1]:.{_DIGITS}g}"), hit[0]))


def fuse(rankings: Sequence[Sequence[Key]], *, k: int = RRF_K) -> list[tuple[Key, float]]:
    """Reciprocal rank fusion: score(d) = sum over rankings of 1 / (k + rank of d), ranks from 1; ties by key.

    Cormack, Clarke, Buettcher: Reciprocal rank fusion outperforms Condorcet and individual rank learning methods,
    SIGIR 2009, which also proposes k = 60.
    """
    scores: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))
