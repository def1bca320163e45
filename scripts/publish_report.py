"""What deliveries cost, as one table. In: the intervals of each delivery and the times of the requests beside it.
Out: Markdown. No network library, no Ray.

A request's gaps are the waits between its tokens and, as the first one, that from asking to its first token.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fundus_ray.obs.report_table import table

Interval = tuple[float, float]
Gap = tuple[tuple[int, int], bool, Interval]  # (engine, request), whether it is the wait for a first token, the wait
PARTS = ("serialise", "ship", "write", "read", "add_lora", "probe", "rest")
HELD_UP = 3.0  # a request counts as paused where it waits so many times longer than any did without a delivery


@dataclass(frozen=True, slots=True)
class Delivery:
    """One version, from the learner's publish to the moment when every engine writes new prompts under it.

    Seconds on one axis; the parts of each engine are `take` and, within it, write, read, add_lora and probe."""

    asked: Interval  # of the driver: from the call of publish until every engine serves the version
    published: Interval  # of the learner
    engines: Sequence[Mapping[str, Interval]]
    quiet: Interval  # before it, in which the same requests ran
    requests: Sequence[Sequence[Sequence[float]]]  # [engine][request][when asked, then of each token]
    aborted: int  # requests that ended neither at their length nor by us

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part of PARTS, in the engine that was slowest at it, and of the whole. `ship`: from the learner's
        process into the engine's; `rest`: reading back and hashing, vLLM's list, telling the engines to serve."""
        found = {
            "whole": length(self.asked),
            "serialise": length(self.published),
            "ship": max(parts["take"][0] for parts in self.engines) - self.published[1],
            **{
                name: max(length(parts[name]) for parts in self.engines)
                for name in ("write", "read", "add_lora", "probe")
            },
        }
        counted = sum(found[name] for name in ("serialise", "ship", "write", "read"))
        counted += max(found["add_lora"], found["probe"])  # they run at the same time
        return {**found, "rest": max(0.0, found["whole"] - counted)}

    @property
    def quiet_gap(self) -> float:
        """Longest wait for a request's next token that was over before the delivery; 0 where there is none."""
        return max(
            (b - a for _, first, (a, b) in self._gaps() if not first and a >= self.quiet[0] and b <= self.quiet[1]),
            default=0.0,
        )

    @property
    def delivery_gap(self) -> float:
        """Longest one that overlaps the delivery."""
        return max((length(gap) for _, first, gap in self._beside() if not first), default=0.0)

    @property
    def quiet_first(self) -> float:
        """Longest wait for a first token before or after the delivery, the writers' start included; 0 without any."""
        beside = self._beside()
        return max((length(found[2]) for found in self._gaps() if found[1] and found not in beside), default=0.0)

    @property
    def delivery_first(self) -> float:
        """Longest one that overlaps the delivery; 0 where no request was asked for then."""
        return max((length(gap) for _, first, gap in self._beside() if first), default=0.0)

    @property
    def stall(self) -> float:
        """How much longer a request waited for its next, or its first, token than any did without a delivery."""
        return max(0.0, self.delivery_gap - self.quiet_gap, self.delivery_first - self.quiet_first)

    @property
    def paused(self) -> int:
        """Requests that waited HELD_UP times longer than any did without a delivery."""
        return len({request for request, first, gap in self._beside() if length(gap) > HELD_UP * self._usual(first)})

    @property
    def during(self) -> Interval:
        """All of the delivery; of one that was longer than what was watched before it, as much of its start."""
        return self.asked[0], self.asked[0] + min(length(self.asked), length(self.quiet))

    @property
    def just_before(self) -> Interval:
        """As long as `during`."""
        return self.asked[0] - length(self.during), self.asked[0]

    def tokens_in(self, interval: Interval) -> int:
        """Of all requests."""
        return sum(interval[0] <= at < interval[1] for engine in self.requests for times in engine for at in times[1:])

    @property
    def blamed(self) -> str:
        """The part that overlaps most the gap that was longest beside the usual one."""
        beside = self._beside()
        if not beside:
            return "-"
        (engine, _), _, gap = max(beside, key=lambda found: length(found[2]) - self._usual(found[1]))
        parts = {"serialise": self.published, **{k: v for k, v in self.engines[engine].items() if k != "take"}}
        shares = {name: overlap(part, gap) for name, part in parts.items()}
        name = max(shares, key=shares.__getitem__)
        return name if shares[name] > 0 else "between them"

    def _usual(self, first: bool) -> float:
        return self.quiet_first if first else self.quiet_gap

    def _beside(self) -> list[Gap]:
        return [(at, first, (a, b)) for at, first, (a, b) in self._gaps() if a < self.asked[1] and b > self.asked[0]]

    def _gaps(self) -> Iterator[Gap]:
        for engine, requests in enumerate(self.requests):
            for number, times in enumerate(requests):
                for i, gap in enumerate(pairwise(times)):
                    yield (engine, number), i == 0, gap


@dataclass(frozen=True, slots=True)
class Row:
    """Deliveries under one setting."""

    adapter: str
    mib: float
    engines: int
    deliveries: Sequence[Delivery]


def length(interval: Interval) -> float:
    """Its seconds."""
    return interval[1] - interval[0]


def overlap(a: Interval, b: Interval) -> float:
    """Seconds that lie in both."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def report(rows: Sequence[Row]) -> str:
    """Milliseconds: medians over deliveries of the parts, but the longest gaps and the longest stall of all, as a
    median hides a stall that comes now and then. Tokens over seconds of all deliveries; counts are sums."""
    header = (
        "adapter",
        "MiB",
        "engines",
        "publish to live",
        *PARTS,
        "longest token gap without",
        "with delivery",
        "longest wait for a first token without",
        "with delivery",
        "longest stall",
        "it lies in",
        "tokens/s just before",
        "during",
        "paused",
        "aborted",
    )
    return table(header, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    def median(values: Sequence[float]) -> str:
        return f"{1000 * statistics.median(values):,.0f}"

    def longest(values: Sequence[float]) -> str:
        return f"{1000 * max(values):,.0f}"

    every = row.deliveries
    seconds = sum(length(d.during) for d in every)
    return (
        row.adapter,
        f"{row.mib:.1f}",
        str(row.engines),
        *(median([d.seconds[name] for d in every]) for name in ("whole", *PARTS)),
        longest([d.quiet_gap for d in every]),
        longest([d.delivery_gap for d in every]),
        longest([d.quiet_first for d in every]),
        longest([d.delivery_first for d in every]),
        longest([d.stall for d in every]),
        max(every, key=lambda d: d.stall).blamed,
        f"{sum(d.tokens_in(d.just_before) for d in every) / seconds:,.0f}",
        f"{sum(d.tokens_in(d.during) for d in every) / seconds:,.0f}",
        f"{sum(d.paused for d in every)} of {sum(len(r) for d in every for r in d.requests)}",
        str(sum(d.aborted for d in every)),
    )
