from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from fundus_ray.obs.trace import Span, Trace


def test_a_span_is_kept_where_its_body_raises() -> None:
    trace = Trace()
    with pytest.raises(KeyError), trace.span("update", step=3):
        raise KeyError
    (span,) = trace.window(start_s=0, end_s=1e12)
    assert span.name == "update"
    assert span.ids == {"step": 3}


def test_the_body_can_complete_the_ids() -> None:
    trace = Trace()
    with trace.span("generate", group=7) as ids:
        ids["worker"] = "rollout-1"
    (span,) = trace.window(start_s=0, end_s=1e12)
    assert span.ids == {"group": 7, "worker": "rollout-1"}


def test_a_window_cuts_spans_and_holds_the_ones_still_open() -> None:
    trace = Trace()
    trace.add(Span("update", 10, 20))
    trace.add(Span("update", 1, 4))
    with trace.span("generate"):
        window = trace.window(start_s=5, end_s=4e12)
    assert sorted((s.name, s.start_s >= 5, s.end_s) for s in window) == [
        ("generate", True, 4e12),
        ("update", True, 20),
    ]
    assert [(s.start_s, s.end_s) for s in trace.window(start_s=12, end_s=15)] == [(12, 15)]


async def test_spans_of_asyncio_tasks_overlap_without_mixing() -> None:
    trace = Trace()
    second_open = asyncio.Event()

    async def first() -> None:
        with trace.span("a"):
            await second_open.wait()

    async def second() -> None:
        with trace.span("b"):
            second_open.set()
            await asyncio.sleep(0)

    await asyncio.gather(first(), second())
    spans = {s.name: s for s in trace.window(start_s=0, end_s=1e12)}
    assert set(spans) == {"a", "b"}
    assert spans["a"].start_s <= spans["b"].start_s <= spans["a"].end_s


def test_no_span_is_lost_between_threads() -> None:
    trace = Trace()

    def work() -> None:
        for _ in range(200):
            with trace.span("score"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(trace.window(start_s=0, end_s=1e12)) == 800


def test_the_chrome_trace_puts_overlapping_spans_on_different_threads(tmp_path: Path) -> None:
    trace = Trace()
    trace.add(Span("generate", 1.0, 3.0, {"worker": "rollout-0"}))
    trace.add(Span("generate", 2.0, 4.0, {"worker": "rollout-0"}))
    trace.add(Span("generate", 3.5, 5.0, {"worker": "rollout-0"}))
    trace.add(Span("generate", 2.0, 4.0, {"worker": "rollout-1"}))
    trace.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    drawn = [(names[e["pid"]], e["tid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert sorted(drawn) == [
        ("generate rollout-0", 0, 1.0e6, 2.0e6),
        ("generate rollout-0", 0, 3.5e6, 1.5e6),
        ("generate rollout-0", 1, 2.0e6, 2.0e6),
        ("generate rollout-1", 0, 2.0e6, 2.0e6),
    ]


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends at 1 before it starts at 2"):
        Span("score", 2, 1)


def test_a_window_finds_what_was_timed_elsewhere_and_arrived_late() -> None:
    trace = Trace()
    trace.add(Span("update", 30, 40))
    trace.add(Span("score", 1, 12))  # told of after a span that ended later
    trace.add(Span("generate", 5, 25))
    assert [s.name for s in trace.window(start_s=10, end_s=20)] == ["score", "generate"]
