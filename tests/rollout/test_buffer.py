"""The slot buffer under random schedules on a virtual clock: no time passes, and a deadlock is an error at once."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sample import prompt

from fundus_ray.config import load
from fundus_ray.errors import FundusRayError, WorkerDiedError
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.rollout.buffer import Job, SlotBuffer
from fundus_ray.rollout.lookahead import Lookahead
from fundus_ray.types import (
    PolicyVersion,
    Rollout,
    RolloutGroup,
    ScoredGroup,
)


def scored(group_id: int, *, version: int, drop_reason: str = "") -> ScoredGroup:
    rollout = Rollout(
        token_ids=(1,),
        logprobs=(-1.0,),
        text="",
        finish_reason="stop",
        seed=0,
        policy=PolicyVersion(step=version, sha256="0"),
    )
    group = RolloutGroup(
        prompt=prompt(group_id),
        prompt_token_ids=(1,),
        rollouts=(rollout,),
        worker="rollout-0",
        started_s=0.0,
        finished_s=0.0,
    )
    return ScoredGroup(
        group=group, scored=(), trainable=not drop_reason, drop_reason=drop_reason, started_s=0.0, finished_s=0.0
    )


def strict(capacity: int, *, stall_s: float, trace: Trace) -> SlotBuffer:
    """A buffer that hands groups out in the order of admission."""
    lookahead = Lookahead(window=0, groups_per_step=capacity, max_lag=0)
    return SlotBuffer(capacity, stall_s=stall_s, trace=trace, lookahead=lookahead)


@functools.cache
def rule_capacity(ratio: float, per_step: int) -> int:
    """The capacity that a run uses."""
    return load(None, [f"loop.async_ratio={ratio}", f"loop.groups_per_step={per_step}"]).buffer_capacity


@dataclass
class Outcome:
    """What a simulated run did."""

    lags: list[list[int]] = field(default_factory=list)  # [step][group]
    taken: list[int] = field(default_factory=list)  # group ids in the order of `take`
    trained: list[int] = field(default_factory=list)
    most_held: int = 0


async def simulate(
    *,
    ratio: float,
    per_step: int,
    steps: int,
    chance: random.Random,
    drop: float,
    spoil: float = 0.0,
    window: int = 0,
    capacity: int | None = None,
) -> Outcome:
    """The loop around the buffer: random durations of everything, two engines that get a new version one by one."""
    buffer = SlotBuffer(
        capacity or rule_capacity(ratio, per_step),
        stall_s=1e6,
        trace=Trace(),
        lookahead=Lookahead(window=window, groups_per_step=per_step, max_lag=math.ceil(ratio)),
    )
    engines, held, out = [0, 0], [0], Outcome()

    async def write_and_score(group_id: int) -> ScoredGroup:
        held[0] += 1
        out.most_held = max(out.most_held, held[0])
        await asyncio.sleep(chance.choice([0.0, 0.1, 1.0]))  # on its way to an engine
        version = chance.choice(engines)
        await asyncio.sleep(chance.choice([0.0, 0.5, 1.0, 20.0]))
        await asyncio.sleep(chance.choice([0.0, 0.2, 5.0]))
        dropped = chance.random() < drop
        held[0] -= dropped
        return scored(group_id, version=version, drop_reason="no_spread" if dropped else "")

    buffer.start(Job(f"group {i}", lambda i=i: write_and_score(i)) for i in itertools.count())  # type: ignore[misc]
    for step in range(steps):
        groups: list[ScoredGroup] = []
        while len(groups) < per_step:
            taken = await buffer.take()
            out.taken.append(taken.group.prompt.group_id)
            if taken.trainable and chance.random() < spoil:  # the learner finds its image gone
                held[0] -= 1
                buffer.give_up(1)
            elif taken.trainable:
                groups.append(taken)
        out.trained += [g.group.prompt.group_id for g in groups]
        out.lags.append([step - g.group.policy.step for g in groups])
        await asyncio.sleep(chance.choice([0.0, 1.0, 10.0]))
        for i in range(len(engines)):
            await asyncio.sleep(chance.choice([0.0, 0.3]))
            engines[i] = step + 1
        await asyncio.sleep(chance.choice([0.0, 0.3]))
        held[0] -= per_step
        buffer.release(per_step)
    await buffer.close()
    return out


@pytest.mark.parametrize("per_step", [1, 4, 8])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0, 1.7, 2.0, 4.0])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), drop=st.sampled_from([0.0, 0.3, 0.8]))
def test_any_schedule_keeps_the_lag_bound_and_trains_each_group_once_in_order(
    ratio: float, per_step: int, seed: int, drop: float
) -> None:
    bound = {0.0: 0, 0.25: 1, 0.5: 1, 1.0: 1, 1.7: 2, 2.0: 2, 4.0: 4}[ratio]
    chance = random.Random(seed)
    spoil = chance.choice([0.0, 0.0, 0.2])
    out = run_virtual(lambda: simulate(ratio=ratio, per_step=per_step, steps=8, chance=chance, drop=drop, spoil=spoil))
    lags = [lag for step in out.lags for lag in step]
    assert max(lags) <= bound
    assert min(lags) >= 0
    assert out.taken == list(range(len(out.taken)))
    assert len(set(out.trained)) == len(out.trained) == 8 * per_step
    assert out.trained == sorted(out.trained)
    assert (
        out.most_held <= load(None, [f"loop.async_ratio={ratio}", f"loop.groups_per_step={per_step}"]).buffer_capacity
    )


@pytest.mark.parametrize("per_step", [1, 4, 8])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 1.7, 4.0])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), drop=st.sampled_from([0.0, 0.3, 0.8]), window=st.integers(1, 20))
def test_any_window_keeps_the_lag_bound_and_trains_each_group_once(
    ratio: float, per_step: int, seed: int, drop: float, window: int
) -> None:
    chance = random.Random(seed)
    spoil = chance.choice([0.0, 0.0, 0.2])
    out = run_virtual(
        lambda: simulate(ratio=ratio, per_step=per_step, steps=8, chance=chance, drop=drop, spoil=spoil, window=window)
    )
    lags = [lag for step in out.lags for lag in step]
    assert 0 <= min(lags) <= max(lags) <= math.ceil(ratio)
    assert len(set(out.trained)) == len(out.trained) == 8 * per_step
    assert len(set(out.taken)) == len(out.taken)
    assert out.most_held <= rule_capacity(ratio, per_step)


def test_with_a_window_a_slow_group_does_not_hold_up_the_step_and_is_trained_while_its_bound_still_allows() -> None:
    # r = 0.5, P = 2, so 3 slots and lag <= 1. Group 0 takes 100 s, the others 1 s.
    async def job(group_id: int, version: list[int]) -> ScoredGroup:
        written_by = version[0]
        await asyncio.sleep(100.0 if group_id == 0 else 1.0)
        return scored(group_id, version=written_by)

    async def main(window: int) -> list[tuple[float, list[int]]]:
        now, version, steps = asyncio.get_running_loop().time, [0], []
        lookahead = Lookahead(window=window, groups_per_step=2, max_lag=1)
        buffer = SlotBuffer(3, stall_s=1000.0, trace=Trace(), lookahead=lookahead)
        buffer.start(Job(f"group {i}", lambda i=i: job(i, version)) for i in itertools.count())  # type: ignore[misc]
        for step in range(2):
            taken = [(await buffer.take()).group.prompt.group_id for _ in range(2)]
            steps.append((now(), taken))
            version[0] = step + 1
            buffer.release(2)
        await buffer.close()
        return steps

    assert run_virtual(lambda: main(0)) == [(100.0, [0, 1]), (101.0, [2, 3])]
    # Step 0 goes without group 0, whose last step is 1: there one group may pass it, the other place is its own.
    assert run_virtual(lambda: main(2)) == [(1.0, [1, 2]), (100.0, [3, 0])]


def test_one_slot_more_than_the_capacity_rule_breaks_the_bound() -> None:
    def out(capacity: int) -> Outcome:
        return run_virtual(
            lambda: simulate(ratio=0.0, per_step=4, steps=3, chance=random.Random(0), drop=0.0, capacity=capacity)
        )

    assert {lag for step in out(4).lags for lag in step} == {0}
    assert {lag for step in out(5).lags for lag in step} == {0, 1}


def fast(version: list[int]) -> Iterator[Job]:
    """Jobs that take no time and write what version is live."""

    async def write(group_id: int) -> ScoredGroup:
        return scored(group_id, version=version[0])

    return (Job(f"group {i}", lambda i=i: write(i)) for i in itertools.count())  # type: ignore[misc]


def test_with_fast_generation_the_off_policy_share_is_the_ratio() -> None:
    # r = 0.5, P = 4: 6 slots. After each release 4 new groups are written by the new version, behind 2 old ones.
    async def main() -> list[list[int]]:
        version, lags = [0], []
        buffer = strict(6, stall_s=10.0, trace=Trace())
        buffer.start(fast(version))
        for step in range(4):
            lags.append([step - (await buffer.take()).group.policy.step for _ in range(4)])
            await asyncio.sleep(1.0)
            version[0] = step + 1
            buffer.release(4)
        await buffer.close()
        return lags

    assert run_virtual(main) == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_dropped_group_frees_its_slot_while_older_groups_are_still_under_way() -> None:
    started = []

    async def job(group_id: int) -> ScoredGroup:
        started.append(group_id)
        await asyncio.sleep({0: 100.0, 1: 1.0}.get(group_id, 5.0))
        return scored(group_id, version=0, drop_reason="unscorable" if group_id == 1 else "")

    async def main() -> None:
        buffer = strict(2, stall_s=1000.0, trace=Trace())
        buffer.start(Job(f"group {i}", lambda i=i: job(i)) for i in itertools.count())  # type: ignore[misc]
        await asyncio.sleep(0.5)
        assert started == [0, 1]
        await asyncio.sleep(1.0)
        assert started == [0, 1, 2]
        assert [(await buffer.take()).drop_reason for _ in range(3)] == ["", "unscorable", ""]
        await asyncio.sleep(1000.0)
        assert started == [0, 1, 2]  # both slots are held by groups that were taken and not released
        await buffer.close()

    run_virtual(main)


def test_shrinking_capacity_keeps_slots_back() -> None:
    async def main() -> None:
        version = [0]
        buffer = strict(4, stall_s=10.0, trace=Trace())
        buffer.start(fast(version))
        for _ in range(2):
            await buffer.take()
        version[0] = 1
        buffer.release(2, capacity=3)
        assert [(await buffer.take()).group.policy.step for _ in range(3)] == [0, 0, 1]
        with pytest.raises(WorkerDiedError, match="a prompt to be admitted"):
            await buffer.take()
        with pytest.raises(ValueError, match="shrink from 3 by 0 to 2, not to 0"):
            buffer.release(2, capacity=0)
        await buffer.close()

    run_virtual(main)


def test_crash_far_back_in_the_queue_surfaces_before_the_oldest_group_is_done() -> None:
    async def job(group_id: int) -> ScoredGroup:
        await asyncio.sleep(3.0 if group_id == 2 else 50.0)
        if group_id == 2:
            raise WorkerDiedError("rollout-1 died")
        return scored(group_id, version=0)

    async def main() -> float:
        buffer = strict(4, stall_s=100.0, trace=Trace())
        buffer.start(Job(f"group {i}", lambda i=i: job(i)) for i in itertools.count())  # type: ignore[misc]
        with pytest.raises(WorkerDiedError, match="rollout-1 died"):
            await buffer.take()
        seconds = asyncio.get_running_loop().time()
        await buffer.close()
        return seconds

    assert run_virtual(main) == pytest.approx(3.0)


async def test_a_group_that_is_there_is_taken_though_this_process_stood_still_for_longer_than_a_stall() -> None:
    async def write(group_id: int) -> ScoredGroup:
        time.sleep(0.05)  # nothing else of this process runs meanwhile, as where it is suspended
        return scored(group_id, version=0)

    buffer = strict(1, stall_s=0.02, trace=Trace())
    buffer.start(Job(f"group {i}", lambda i=i: write(i)) for i in itertools.count(40))  # type: ignore[misc]
    assert (await buffer.take()).group.prompt.group_id == 40
    await buffer.close()


def test_stall_names_the_group_that_was_awaited() -> None:
    async def never(group_id: int) -> ScoredGroup:
        await asyncio.sleep(1e9)
        raise AssertionError

    async def main() -> None:
        buffer = strict(3, stall_s=7.0, trace=Trace())
        buffer.start(Job(f"group {i}", lambda i=i: never(i)) for i in itertools.count(40))  # type: ignore[misc]
        with pytest.raises(WorkerDiedError, match=r"nothing arrived for 7 s .* group 40; 3 of 3 groups"):
            await buffer.take()
        await buffer.close()

    run_virtual(main)


def test_time_in_which_an_engine_is_started_again_is_no_stall() -> None:
    async def main() -> list[float]:
        now = asyncio.get_running_loop().time
        trace = Trace(clock=now)

        async def restart_and_write(group_id: int) -> ScoredGroup:
            await asyncio.sleep(5.0)
            with trace.span("restart", worker="rollout-0"):
                await asyncio.sleep(19.0)
            await asyncio.sleep(6.0 if group_id == 0 else 1e9)
            return scored(group_id, version=0)

        buffer = strict(2, stall_s=7.0, trace=trace)
        buffer.start(Job(f"group {i}", lambda i=i: restart_and_write(i)) for i in itertools.count())  # type: ignore[misc]
        await buffer.take()
        times = [now()]
        with pytest.raises(WorkerDiedError, match=r"nothing arrived for 7 s .* group 1"):
            await buffer.take()
        times.append(now())
        await buffer.close()
        return times

    # Written at 5 + 19 + 6; at 37 the restart, over at 24, lies back by more than 7 s.
    assert run_virtual(main) == pytest.approx([30.0, 37.0])


def test_error_while_making_a_prompt_surfaces_in_take() -> None:
    def broken(at: int) -> Job:
        raise FundusRayError(f"image {at}.png is missing")

    async def main() -> None:
        buffer = strict(3, stall_s=7.0, trace=Trace())
        buffer.start(broken(i) for i in itertools.count(7))
        with pytest.raises(FundusRayError, match=r"7\.png"):
            await buffer.take()
        await buffer.close()

    run_virtual(main)


def test_prompts_that_end_are_an_error_and_not_a_stall() -> None:
    async def main() -> None:
        buffer = strict(3, stall_s=7.0, trace=Trace())
        buffer.start(itertools.islice(fast([0]), 2))
        with pytest.raises(FundusRayError, match="ran out"):
            await buffer.take()
        await buffer.close()

    run_virtual(main)


def test_close_cancels_and_awaits_everything_under_way() -> None:
    ended = []

    async def job(group_id: int) -> ScoredGroup:
        try:
            await asyncio.sleep(1e9)
        finally:
            await asyncio.sleep(1.0)
            ended.append(group_id)
        raise AssertionError

    async def main() -> None:
        buffer = strict(3, stall_s=7.0, trace=Trace())
        buffer.start(Job(f"group {i}", lambda i=i: job(i)) for i in itertools.count())  # type: ignore[misc]
        await asyncio.sleep(1.0)
        await buffer.close()
        assert sorted(ended) == [0, 1, 2]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)


def test_close_names_what_does_not_stop() -> None:
    async def deaf() -> ScoredGroup:
        while True:
            try:
                await asyncio.sleep(100.0)
                return scored(0, version=0)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        buffer = strict(1, stall_s=7.0, trace=Trace())
        buffer.start(Job(f"group {i}", deaf) for i in itertools.count())
        await asyncio.sleep(1.0)
        with pytest.raises(WorkerDiedError, match=r"did not stop within 7 s .*: group 0"):
            await buffer.close()
        await asyncio.sleep(200.0)

    run_virtual(main)


def test_waits_for_a_slot_are_spans() -> None:
    async def main() -> Trace:
        trace = Trace()
        buffer = strict(2, stall_s=7.0, trace=trace)
        buffer.start(fast([0]))
        await buffer.take()
        await buffer.close()
        return trace

    spans = run_virtual(main).window(start_s=0.0, end_s=1e12)
    assert [span.name for span in spans] == ["wait_slot"] * 3  # two free slots, then the wait that `close` ended
