"""Metrics that reduce correctly over workers: each value knows how it merges.

In: reductions by name, from any worker. Out: one flat dict of floats a step. A mean carries its count, so that merging
is by count and not a mean of means. Nothing here is timed or rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of `count` values that sum to `total`."""

    total: float
    count: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean:
        """Over the values that are there; None (a masked part) is left out, not counted as zero."""
        there = [v for v in values if v is not None]
        return cls(total=math.fsum(there), count=len(there))

    def merge(self, other: Mean) -> Mean:
        """The mean over both sides' values."""
        return Mean(total=self.total + other.total, count=self.count + other.count)

    def flat(self, name: str) -> dict[str, float]:
        """{name: mean}, or nothing where there were no values."""
        return {name: self.total / self.count} if self.count else {}


@dataclass(frozen=True, slots=True)
class Sum:
    """A count or a total."""

    value: float

    def merge(self, other: Sum) -> Sum:
        """Both sides added."""
        return Sum(self.value + other.value)

    def flat(self, name: str) -> dict[str, float]:
        """{name: sum}."""
        return {name: float(self.value)}


@dataclass(frozen=True, slots=True)
class Max:
    """The largest value; NaN wins, so that it is seen."""

    value: float

    def merge(self, other: Max) -> Max:
        """The larger side."""
        if math.isnan(self.value) or math.isnan(other.value):
            return Max(math.nan)
        return Max(max(self.value, other.value))

    def flat(self, name: str) -> dict[str, float]:
        """{name: max}."""
        return {name: float(self.value)}


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each whole number occurred."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[int]) -> Histogram:
        """Count the values."""
        counts: dict[int, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        return cls(counts)

    def merge(self, other: Histogram) -> Histogram:
        """Counts added bin by bin."""
        bins = sorted({*self.counts, *other.counts})
        return Histogram({b: self.counts.get(b, 0) + other.counts.get(b, 0) for b in bins})

    def flat(self, name: str) -> dict[str, float]:
        """{name_<bin>: count}, bins in order."""
        return {f"{name}_{b}": float(self.counts[b]) for b in sorted(self.counts)}


Reduction = Mean | Sum | Max | Histogram


class Metrics:
    """Named reductions; picklable, so that workers can send theirs."""

    def __init__(self) -> None:
        self._cells: dict[str, Reduction] = {}

    def add(self, name: str, value: Reduction) -> None:
        """Merge the value into what the name holds. Raises TypeError where the name holds another kind."""
        held = self._cells.get(name)
        self._cells[name] = value if held is None else _merged(name, held, value)

    def merge(self, other: Metrics) -> None:
        """Take in another worker's metrics. Raises TypeError where a name is of another kind there."""
        for name, value in other._cells.items():
            self.add(name, value)

    def flat(self) -> dict[str, float]:
        """All values as floats, by name; a histogram gives one entry a bin."""
        flat: dict[str, float] = {}
        for name, cell in self._cells.items():
            flat.update(cell.flat(name))
        return flat


def _merged(name: str, held: Reduction, value: Reduction) -> Reduction:
    match held, value:
        case (Mean(), Mean()) | (Sum(), Sum()) | (Max(), Max()) | (Histogram(), Histogram()):
            return held.merge(value)  # type: ignore[arg-type]
    raise TypeError(f"metric {name} is a {type(held).__name__}; a {type(value).__name__} cannot be merged into it")
