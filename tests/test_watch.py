"""Workers that hang, look alive, or die, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fundus_ray.errors import HungError, ProcessDiedError
from fundus_ray.obs.virtual_time import VirtualTimeLoop, run_virtual
from fundus_ray.types import Pulse
from fundus_ray.watch import watch

HANG_S = 60.0  # a pulse every 5 s


def now() -> float:
    return asyncio.get_running_loop().time()


def ends_at(ask: Callable[[], Awaitable[Pulse]], *, limit_s: float = 1e6) -> tuple[float, str]:
    """When the watch gives the worker up, and its words; (limit_s, "") where it does not until then."""

    async def main() -> tuple[float, str]:
        try:
            async with asyncio.timeout(limit_s):
                await watch(ask, name="rollout-0", hang_s=HANG_S)
        except (HungError, ProcessDiedError) as err:
            return now(), str(err)
        except TimeoutError:
            return now(), ""

    return run_virtual(main)


def test_a_worker_that_answers_nothing_hangs_after_the_limit() -> None:
    async def ask() -> Pulse:
        await asyncio.sleep(1e9 if now() >= 100 else 0)
        return Pulse()

    assert ends_at(ask) == (100 + HANG_S, "rollout-0 hangs: it answered nothing for 60 s (rollout.hang_s)")


@pytest.mark.parametrize("step_s", [0.0, 20.0, 45.0, 59.0])
def test_a_worker_whose_step_is_shorter_than_the_limit_does_not_hang(step_s: float) -> None:
    """It answers only between two steps, as an engine's core does; each step draws one token."""

    async def ask() -> Pulse:
        begun = now()
        if step_s:
            await asyncio.sleep(step_s - begun % step_s)
        return Pulse(working=True, moved=int(now() // max(step_s, 1.0)))

    assert ends_at(ask, limit_s=10_000)[1] == ""


def test_work_that_does_not_move_is_a_hang_though_every_question_is_answered() -> None:
    async def ask() -> Pulse:
        return Pulse(working=True, moved=min(int(now()), 20))

    assert ends_at(ask) == (20 + HANG_S, "rollout-0 hangs: it has work and drew no token for 60 s (rollout.hang_s)")


def test_an_idle_worker_may_stand_still_for_ever_and_has_the_whole_limit_once_work_comes() -> None:
    async def ask() -> Pulse:
        return Pulse(working=now() >= 1000)

    # The last idle answer is that at 995 s.
    assert ends_at(ask)[0] == 995 + HANG_S


def test_a_death_is_raised_as_it_was_told() -> None:
    async def ask() -> Pulse:
        if now() >= 7:
            raise ProcessDiedError("rollout-0 died while giving a sign of life")
        return Pulse()

    assert ends_at(ask) == (10.0, "rollout-0 died while giving a sign of life")


def test_a_machine_that_was_suspended_finds_no_worker_hanging() -> None:
    """All of it stood still for an hour, this process too: in the middle of a question, and of work."""
    slept: list[float] = []

    async def ask() -> Pulse:
        answer_s = now() + 1.0
        if now() > 100 and not slept:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.spend(3600.0)
            slept.append(now())
        await asyncio.sleep(max(0.0, answer_s - now()))
        return Pulse(working=True, moved=int(now() // 10))

    assert ends_at(ask, limit_s=10_000)[1] == ""
    assert slept


def test_questions_that_time_out_in_the_call_itself_are_errors_of_the_call() -> None:
    async def ask() -> Pulse:
        raise TimeoutError("of the network")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="of the network"):
            await watch(ask, name="rollout-0", hang_s=HANG_S)

    run_virtual(main)
