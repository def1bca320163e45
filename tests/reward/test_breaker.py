"""The breaker against a clock that is set by hand."""

from __future__ import annotations

import asyncio

import pytest

from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.reward.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, BreakerState, CircuitBreaker


class Service:
    """Counts its calls; fails while `down`."""

    def __init__(self, *, limit_s: float = 10.0) -> None:
        self.now = 100.0
        self.down = True
        self.calls = 0
        self.breaker = CircuitBreaker(SearchError, doing="the search", limit_s=limit_s, clock=lambda: self.now)

    async def ask(self) -> str:
        async def request() -> str:
            self.calls += 1
            await asyncio.sleep(0)
            if self.down:
                raise SearchError("host: no answer")
            return "found"

        return await self.breaker.call(request)

    async def fail(self, times: int = FAILURES) -> None:
        for _ in range(times):
            with pytest.raises(SearchError):
                await self.ask()


async def test_failures_in_a_row_open_it_and_then_nothing_is_asked() -> None:
    service = Service()
    await service.fail(FAILURES - 1)
    assert service.breaker.state.value == BreakerState.CLOSED.value
    await service.fail(1)
    assert service.breaker.state.value == BreakerState.OPEN.value
    await service.fail(1000)
    assert service.calls == service.breaker.failed == FAILURES
    with pytest.raises(SearchError, match=r"host: no answer \(not asked again before a pause is over\)"):
        await service.ask()


async def test_a_success_between_failures_keeps_it_closed() -> None:
    service = Service()
    for _ in range(5):
        await service.fail(FAILURES - 1)
        service.down = False
        assert await service.ask() == "found"
        service.down = True
    assert service.breaker.state.value == BreakerState.CLOSED.value


async def test_after_the_pause_one_probe_goes_and_closes_it() -> None:
    service = Service()
    await service.fail()
    service.now += FIRST_PAUSE_S
    assert service.breaker.state.value == BreakerState.HALF_OPEN.value
    service.down = False
    answers = await asyncio.gather(*(service.ask() for _ in range(10)), return_exceptions=True)
    assert answers[0] == "found"
    assert all(isinstance(answer, SearchError) for answer in answers[1:])
    assert service.calls == FAILURES + 1
    assert service.breaker.state.value == BreakerState.CLOSED.value
    assert (service.breaker.works, service.breaker.down_s) == (True, 0.0)


async def test_failed_probes_lengthen_the_pause_up_to_a_limit() -> None:
    service = Service()
    await service.fail()
    pauses = []
    for _ in range(8):
        pauses.append(service.breaker.blocked_s)
        service.now += service.breaker.blocked_s
        await service.fail(1)
    nominal = [min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**i) for i in range(8)]
    assert all(n / 2 <= pause <= n for pause, n in zip(pauses, nominal, strict=True))
    assert service.breaker.down_s == pytest.approx(sum(pauses))


async def test_calls_under_way_when_it_opens_do_not_lengthen_the_pause() -> None:
    service = Service()
    answers = await asyncio.gather(*(service.ask() for _ in range(50)), return_exceptions=True)
    assert len([a for a in answers if isinstance(a, SearchError)]) == 50
    assert service.breaker.blocked_s <= FIRST_PAUSE_S


async def test_a_probe_whose_caller_is_cancelled_leaves_the_way_free_for_the_next() -> None:
    service = Service()
    await service.fail()
    service.now += FIRST_PAUSE_S
    probe = asyncio.create_task(service.breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    assert service.breaker.blocked_s > 0
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    service.down = False
    assert await service.ask() == "found"


async def test_a_call_that_hangs_is_cut_off_and_counts_as_a_failure() -> None:
    service = Service(limit_s=0.01)
    for _ in range(FAILURES):
        with pytest.raises(SearchError, match=r"the search took longer than reward\.timeout_s=0\.01"):
            await service.breaker.call(asyncio.Event().wait)
    assert service.breaker.state.value == BreakerState.OPEN.value


async def test_another_error_passes_through_and_counts_for_nothing() -> None:
    service = Service()

    async def broken() -> None:
        raise KeyError("a bug")

    for _ in range(2 * FAILURES):
        with pytest.raises(KeyError):
            await service.breaker.call(broken)
    assert (service.breaker.state, service.breaker.failed) == (BreakerState.CLOSED, 0)
