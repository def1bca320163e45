from __future__ import annotations

import asyncio

import pytest

from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import VirtualTimeLoop, run_virtual


def test_timers_fire_in_order_at_the_time_they_were_set_for() -> None:
    seen: list[tuple[float, str]] = []

    async def note(after_s: float, name: str) -> None:
        await asyncio.sleep(after_s)
        seen.append((asyncio.get_running_loop().time(), name))

    async def main() -> None:
        await asyncio.gather(note(5.0, "late"), note(0.25, "early"), note(1e6, "last"))

    run_virtual(main)
    assert seen == [(0.25, "early"), (5.0, "late"), (1e6, "last")]


def test_work_between_waits_takes_no_virtual_time() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 0.0


def test_a_day_of_waits_and_limits_passes_without_waiting() -> None:
    async def main() -> float:
        for _ in range(24 * 60):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60.0):
                    await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 86400.0


def test_a_deadlock_is_an_error_that_names_the_tasks() -> None:
    async def main() -> None:
        await asyncio.sleep(3.0)
        await asyncio.create_task(asyncio.Event().wait(), name="the feeder")  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match=r"deadlock at 3 s: .*the feeder"):
        run_virtual(main)


def test_an_error_comes_out_and_other_tasks_are_cancelled() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("background")

    async def main() -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(1.0)
        raise KeyError(task.get_name())

    with pytest.raises(KeyError):
        run_virtual(main)
    assert ended == ["background"]


def test_spans_lie_on_the_virtual_clock() -> None:
    async def main() -> Trace:
        trace = Trace(clock=asyncio.get_running_loop().time)
        await asyncio.sleep(2.0)
        with trace.span("update", step=0):
            await asyncio.sleep(3600.0)
        return trace

    (span,) = run_virtual(main).window(start_s=0.0, end_s=1e9)
    assert (span.start_s, span.end_s) == (2.0, 3602.0)


def test_a_call_that_computes_makes_due_timers_late() -> None:
    fired: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.call_later(1.0, lambda: fired.append(loop.time()))
        loop.call_later(9.0, lambda: fired.append(loop.time()))
        loop.spend(5.0)
        await asyncio.sleep(10.0)
        with pytest.raises(ValueError, match="cannot spend -1"):
            loop.spend(-1.0)

    run_virtual(main)
    assert fired == [5.0, 9.0]
