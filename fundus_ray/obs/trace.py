"""Who waited for whom: named spans of wall time, from any thread or asyncio task.

In: `with trace.span("update", step=3)` around work or a wait. Out: spans, and a Chrome trace to open in
https://ui.perfetto.dev. Times are seconds since the epoch (`time.time()`), so that spans of several machines can lie on
one axis; they are as exact as the machines' clocks agree. Under simulated time the clock is the event loop's own.

Names in use: "wait_slot" (feeder waits for a free slot), "generate", "score", "wait_group" (learner side waits for a
group), "update", "publish", "deliver", "start" (a worker joins a run that goes on), "restart" (a worker that died is
started again), "fault" (of no length: a worker is found dead), "here" (a worker takes work, from when it joins the
others until it leaves), "sleep" and "wake" (engine and learner take turns on one GPU). Spans of "generate", "score" and
"here" should carry the id `worker`.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fundus_ray.obs.strict_json import write_json

IdValue = str | int | float


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of wall time; `ids` say whose: worker, group, step."""

    name: str
    start_s: float
    end_s: float
    ids: dict[str, IdValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.end_s < self.start_s:
            raise ValueError(f"span {self.name} ends at {self.end_s} before it starts at {self.start_s}")


class Trace:
    """A growing list of spans; safe to use from threads and asyncio tasks at once."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds of the axis on which all spans lie; it may be set back, but must be one for all spans."""
        self.clock = clock
        self._lock = threading.Lock()
        self._closed: list[Span] = []  # in order of their ends: a step's window then costs the same late in a run
        self._open: dict[int, tuple[str, float, dict[str, IdValue]]] = {}
        self._next_key = 0

    @contextmanager
    def span(self, name: str, **ids: IdValue) -> Iterator[dict[str, IdValue]]:
        """Record the body's wall time, also where it raises. Yields `ids`, which the body may complete."""
        start = self.clock()
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._open[key] = (name, start, ids)
        try:
            yield ids
        finally:
            # The wall clock may be set back while the body runs; a span of negative length would break every sum.
            end = max(start, self.clock())
            with self._lock:
                del self._open[key]
                self._close(Span(name=name, start_s=start, end_s=end, ids=dict(ids)))

    def add(self, span: Span) -> None:
        """Take a span that was timed elsewhere, e.g. on a worker."""
        with self._lock:
            self._close(span)

    def window(self, *, start_s: float, end_s: float) -> list[Span]:
        """What overlaps [start_s, end_s], cut to it. Spans still open count as lasting until `end_s`."""
        with self._lock:
            spans = self._closed[bisect.bisect_left(self._closed, start_s, key=_end) :]
            running = [(name, start, dict(ids)) for name, start, ids in self._open.values()]
        spans += [Span(name=n, start_s=s, end_s=end_s, ids=ids) for n, s, ids in running if s <= end_s]
        return [
            Span(name=s.name, start_s=max(s.start_s, start_s), end_s=min(s.end_s, end_s), ids=s.ids)
            for s in spans
            if s.start_s <= end_s
        ]

    def write(self, path: Path) -> None:
        """Chrome trace JSON: a process for each name and worker, a thread for each of its concurrent spans."""
        with self._lock:
            spans = sorted(self._closed, key=lambda s: s.start_s)
        write_json(path, {"traceEvents": _chrome_events(spans), "displayTimeUnit": "ms"})

    def _close(self, span: Span) -> None:
        bisect.insort_right(self._closed, span, key=_end)


def _end(span: Span) -> float:
    return span.end_s


def _chrome_events(spans: list[Span]) -> list[dict[str, object]]:
    """Spans in order of start -> events. A lane holds no two spans that overlap: the viewer would draw them nested."""
    lanes: dict[str, list[float]] = {}
    events: list[dict[str, object]] = []
    for span in spans:
        owner = f"{span.name} {span.ids['worker']}" if "worker" in span.ids else span.name
        ends = lanes.setdefault(owner, [])
        lane = next((i for i, end in enumerate(ends) if end <= span.start_s), len(ends))
        ends[lane : lane + 1] = [span.end_s]
        micros = {"ts": span.start_s * 1e6, "dur": (span.end_s - span.start_s) * 1e6}
        pid = list(lanes).index(owner)
        events.append({"name": span.name, "ph": "X", "pid": pid, "tid": lane, "args": span.ids, **micros})
    names = [
        {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": owner}} for pid, owner in enumerate(lanes)
    ]
    return [*names, *events]
