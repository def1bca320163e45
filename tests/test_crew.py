"""Workers that freeze, die, find no place, or are killed by a sample, with workers that are scripted, on a virtual
clock."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from plain_sample import prompt

from fundus_ray.crew import Care, Crew
from fundus_ray.errors import HungError, NodeLeftError, ProcessDiedError, SampleError, WorkerDiedError
from fundus_ray.obs.faults import Fault
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.types import Prompt, Pulse

HANG_S, START_S, WORK_S = 10.0, 30.0, 3.0


@dataclass
class World:
    """What is to happen, and what did."""

    fatal: Callable[[int], bool] = lambda _: False  # group ids whose writing kills the worker
    placed_at: dict[str, float] = field(default_factory=dict)  # from when on there is a place; at once where not given
    death: type[ProcessDiedError] = ProcessDiedError
    freezes_in: str = ""  # "start" | "join" of the next life
    events: list[tuple[float, str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def note(self, name: str, event: str) -> None:
        self.events.append((now(), name, event))

    def of(self, event: str) -> list[tuple[float, str]]:
        return [(at, name) for at, name, what in self.events if what == event]


class Scripted:
    """Writes a group in WORK_S; a frozen one answers nothing."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world
        self.frozen, self.dead = asyncio.Event(), asyncio.Event()
        self.under_way = 0

    async def _take(self, seconds: float) -> None:
        ends = asyncio.create_task(self.dead.wait())
        try:
            await asyncio.wait({ends}, timeout=seconds)
            if self.frozen.is_set() and not self.dead.is_set():
                await asyncio.wait({ends}, timeout=1e9)
        finally:
            ends.cancel()
        if self.dead.is_set():
            raise self.world.death(f"{self.name} died")

    async def placed(self) -> None:
        await asyncio.sleep(max(0.0, self.world.placed_at.get(self.name, 0.0) - now()))

    async def start(self) -> None:
        self.world.note(self.name, "start")
        await self._take(START_S)

    async def join(self) -> None:
        if self.world.freezes_in == "join":
            self.world.freezes_in = ""
            self.frozen.set()
        await self._take(1.0)
        self.world.note(self.name, "join")

    async def pulse(self) -> Pulse:
        await self._take(0.0)
        return Pulse(working=bool(self.under_way), moved=int(now()))

    async def write(self, group: Prompt) -> str:
        self.world.note(self.name, f"write {group.group_id}")
        self.under_way += 1
        try:
            if self.world.fatal(group.group_id):
                await self._take(WORK_S / 2)
                self.dead.set()
            await self._take(WORK_S)
        finally:
            self.under_way -= 1
        return f"{group.group_id} by {self.name}"

    async def close(self, *, limit_s: float) -> None:
        self.world.note(self.name, "close")

    def again(self) -> Scripted:
        self.dead.set()
        return Scripted(self.name, self.world)


def now() -> float:
    return asyncio.get_running_loop().time()


def crew(
    world: World,
    *,
    workers: int = 2,
    restarts: int = 9,
    hang_s: float = HANG_S,
    at_least: int = 1,
    trace: Trace | None = None,
) -> Crew[Scripted]:
    @asynccontextmanager
    async def admit(worker: Scripted) -> AsyncIterator[None]:
        await worker.join()
        yield

    care = Care(
        role="engine",
        setting="rollout.restarts",
        restarts=restarts,
        hang_s=hang_s,
        place_s=100.0,
        at_least=at_least,
        tell=world.faults.append,
    )
    trace = trace or Trace(clock=now)
    return Crew([Scripted(f"w{i}", world) for i in range(workers)], care=care, admit=admit, trace=trace)


async def write(pool: Crew[Scripted], *group_ids: int) -> list[str]:
    jobs = [pool.call(lambda worker, i=i: worker.write(prompt(i)), of=prompt(i)) for i in group_ids]  # type: ignore[misc]
    return list(await asyncio.gather(*jobs))


def test_groups_of_a_frozen_worker_are_written_by_another_one_and_the_fault_is_told_once_it_is_back() -> None:
    world = World()

    async def main() -> None:
        pool = crew(world)
        under_way = asyncio.create_task(write(pool, 0, 1, 2))  # 0 and 2 on w0
        await asyncio.sleep(1.0)
        pool.here[0].frozen.set()
        assert await under_way == ["0 by w1", "1 by w1", "2 by w1"]
        found_at = now() - WORK_S
        assert 1.0 < found_at <= 1.0 + HANG_S + 1.0  # asked every second
        await asyncio.sleep(100.0)
        assert sorted(pool.here) == [0, 1]
        (fault,) = world.faults
        assert (fault.worker, fault.kind, fault.requeued) == ("w0", "hung", (0, 2))
        assert fault.time == found_at
        assert fault.recover_s == START_S + 1.0
        await pool.close(limit_s=1.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)


def test_a_worker_that_freezes_or_dies_without_work_is_found_and_started_again() -> None:
    world = World()

    async def main() -> None:
        pool = crew(world, workers=3)
        frozen, dead = pool.here[0], pool.here[1]
        await asyncio.sleep(100.0)
        frozen.frozen.set()
        dead.dead.set()
        await asyncio.sleep(100.0)
        assert [(f.worker, f.kind, f.requeued) for f in world.faults] == [("w1", "died", ()), ("w0", "hung", ())]
        assert pool.here[0] is not frozen
        assert pool.here[1] is not dead
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_that_freezes_while_all_are_asked_holds_the_others_up_no_longer_than_the_limit() -> None:
    world = World()

    async def main() -> None:
        pool = crew(world)
        pool.here[0].frozen.set()

        async def take(worker: Scripted) -> str:
            await worker._take(1.0)
            return worker.name

        here = pool.here
        assert await pool.of_each(here, take) == {1: "w1"}
        assert now() <= HANG_S + 1.0
        assert await pool.of_each(here, take) == {1: "w1"}  # the new life of w0 was not there when this began
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_that_freezes_on_its_way_back_is_started_once_more() -> None:
    world = World(fatal=lambda group_id: group_id == 0 and not world.of("start"), freezes_in="join")

    async def main() -> None:
        pool = crew(world, workers=1)
        assert await write(pool, 0) == ["0 by w0"]
        assert [(f.kind, f.requeued, f.recover_s is None) for f in world.faults] == [
            ("died", (0,), True),
            ("hung", (), False),
        ]
        await pool.close(limit_s=1.0)

    run_virtual(main)
    assert len(world.of("start")) == 2


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_sample_that_kills_its_worker_each_time_is_given_up_and_costs_no_restart_in_the_end(workers: int) -> None:
    world = World(fatal=lambda group_id: group_id == 4)

    async def main() -> None:
        pool = crew(world, workers=workers, restarts=3)
        jobs = [asyncio.create_task(write(pool, i)) for i in range(12)]
        await asyncio.wait(jobs)
        error = jobs.pop(4).exception()
        assert isinstance(error, SampleError)
        assert str(error) == "sample s4 (image s.png) was under way at 3 deaths of engine workers"
        assert [job.result()[0].split()[0] for job in jobs] == [str(i) for i in range(12) if i != 4]
        assert pool._restarts_left == 3
        await asyncio.sleep(100.0)
        assert len(pool.here) == workers
        await pool.close(limit_s=1.0)

    run_virtual(main)
    assert Counter(event for _, _, event in world.events)["write 4"] == 3


def test_samples_that_were_under_way_beside_a_fatal_one_go_on_one_at_a_time_and_are_written() -> None:
    world = World(fatal=lambda group_id: group_id == 1)

    async def main() -> None:
        pool = crew(world, workers=1)
        jobs = [asyncio.create_task(write(pool, i)) for i in range(3)]
        await asyncio.wait(jobs)
        assert [job.exception() is None for job in jobs] == [True, False, True]
        await pool.close(limit_s=1.0)

    run_virtual(main)
    at = [{n: sorted(t for t, _ in world.of(f"write {n}"))[i] for n in range(3)} for i in range(2)]
    assert all(len(set(times.values())) == 1 for times in at)  # twice all of them at once
    third = {n: times[2] for n in range(3) if len(times := sorted(t for t, _ in world.of(f"write {n}"))) > 2}
    assert len(set(third.values())) == len(third) == 3  # then one after the other


def test_deaths_that_a_sample_came_through_do_not_add_up_against_it() -> None:
    """In a long run many of a sample's groups are under way at deaths of another cause, epochs apart."""
    world = World()

    async def main() -> None:
        pool = crew(world)
        for _ in range(5):
            under_way = asyncio.create_task(write(pool, 0))
            await asyncio.sleep(1.0)
            [busy] = [worker for worker in pool.here.values() if worker.under_way]
            busy.dead.set()
            assert (await under_way)[0].startswith("0 by")
            await asyncio.sleep(100.0)
        assert pool._restarts_left == 9 - 5
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_death_in_the_very_moment_in_which_the_worker_joins_is_not_overlooked() -> None:
    """It would be given calls for ever, each of which ends at once with a death that was told already."""
    world, last_breath, joined = World(), asyncio.Event(), asyncio.Event()

    class Doomed(Scripted):
        async def join(self) -> None:
            await joined.wait()

        async def pulse(self) -> Pulse:
            await last_breath.wait()
            raise ProcessDiedError(f"{self.name} died in the doorway")

        def again(self) -> Scripted:
            return Scripted(self.name, self.world)

    async def main() -> None:
        pool = crew(world, workers=0, hang_s=1e6)
        pool.add(Doomed("w0", world))
        await asyncio.sleep(START_S + 1.0)
        last_breath.set()
        joined.set()
        await asyncio.sleep(1.0)
        assert pool.here == {}
        assert await write(pool, 0) == ["0 by w0"]
        assert [fault.cause for fault in world.faults] == ["w0 died in the doorway"]
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_without_a_place_waits_for_one_while_others_are_here() -> None:
    world = World(fatal=lambda group_id: group_id == 0 and not world.faults and len(world.of("write 0")) == 1)
    world.placed_at["w0"] = 2_000.0

    async def main() -> None:
        pool = crew(world)
        assert await write(pool, 0) == ["0 by w1"]
        await asyncio.sleep(1_000.0)
        assert list(pool.here) == [1]
        await asyncio.sleep(2_000.0)
        assert list(pool.here) == [0, 1]
        assert world.of("start") == [(2_000.0, "w0")]
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_without_a_place_ends_the_crew_where_too_few_are_here_without_it() -> None:
    world = World(placed_at={"w0": math.inf})

    async def main() -> None:
        pool = crew(world, at_least=2)
        pool.here[0].dead.set()
        await asyncio.sleep(120.0)
        said = r"w0 has found no place in the cluster for 100 s .ray\.start_timeout_s., and 1 of at least 2 workers are"
        with pytest.raises(WorkerDiedError, match=said):
            await write(pool, 0)
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_that_is_added_joins_once_it_has_started_and_then_has_its_share() -> None:
    world = World(placed_at={"late": 50.0})

    async def main() -> None:
        pool = crew(world, workers=1)
        pool.add(Scripted("late", world))
        assert await write(pool, 0, 1) == ["0 by w0", "1 by w0"]
        await asyncio.sleep(100.0)
        assert world.of("join") == [(50.0 + START_S + 1.0, "late")]
        assert sorted(await write(pool, 2, 3)) == ["2 by late", "3 by w0"]
        assert world.faults == []
        await pool.close(limit_s=1.0)

    run_virtual(main)


def test_a_worker_that_dies_at_each_start_ends_the_crew_by_the_same_count() -> None:
    world = World(fatal=lambda _: True)

    class Broken(Scripted):
        async def start(self) -> None:
            await super().start()
            raise HungError(f"{self.name} did not answer within 30 s while starting its engine")

        def again(self) -> Scripted:
            return Broken(self.name, self.world)

    async def main() -> None:
        pool = crew(world, workers=0, restarts=2)
        pool.add(Broken("w0", world))
        with pytest.raises(WorkerDiedError) as caught:
            await pool.some_worker()
        assert not isinstance(caught.value, ProcessDiedError), "no new process takes its place"
        assert str(caught.value).splitlines()[-1] == (
            "The restarts are spent (rollout.restarts=2). Deaths: w0 3; the last: w0 did not answer within 30 s while "
            "starting its engine"
        )
        await pool.close(limit_s=1.0)

    run_virtual(main)
    assert len(world.of("start")) == 3


def test_workers_that_leave_with_their_machines_cost_no_restart_and_no_sample_and_come_back_to_other_ones() -> None:
    world = World(death=NodeLeftError, placed_at={"w0": 200.0})

    async def main() -> None:
        pool = crew(world, restarts=0)
        for _ in range(4):  # more often than a sample may kill
            under_way = asyncio.create_task(write(pool, 7))
            await asyncio.sleep(1.0)
            [leaves] = [worker for worker in pool.here.values() if worker.under_way]
            [stays] = [worker for worker in pool.here.values() if not worker.under_way]
            leaves.dead.set()
            assert await under_way == [f"7 by {stays.name}"]
            assert list(pool.here.values()) == [stays]
            await asyncio.sleep(400.0)
            assert sorted(pool.here) == [0, 1]
        await pool.close(limit_s=1.0)

    run_virtual(main)
    assert [(fault.kind, fault.requeued) for fault in world.faults] == [("left", (7,))] * 4


def test_a_worker_is_here_from_when_it_joins_until_it_leaves() -> None:
    world, found = World(placed_at={"w1": 50.0}), list[tuple[str, float, float]]()
    began: list[tuple[str, str]] = []

    async def main() -> None:
        trace = Trace(clock=now)
        pool = crew(world, workers=1, trace=trace)
        pool.add(Scripted("w1", world))
        await asyncio.sleep(100.0)  # w1 has its place at 50, starts until 80 and joins at 81
        pool.here[0].dead.set()
        await asyncio.sleep(100.0)
        await pool.close(limit_s=1.0)
        for span in trace.window(start_s=0.0, end_s=1e9):
            if span.name == "here":
                found.append((str(span.ids["worker"]), span.start_s, span.end_s))
            elif span.name in {"start", "restart"}:
                began.append((span.name, str(span.ids["worker"])))

    run_virtual(main)
    assert began == [("start", "w1"), ("restart", "w0")]
    # w0's death is found within a second, as it is asked every second; it starts and joins in 31 s.
    assert [worker for worker, _, _ in sorted(found, key=lambda stay: stay[1])] == ["w0", "w1", "w0"]
    [(_, *first), (_, *second), (_, *again)] = sorted(found, key=lambda stay: stay[1])
    assert first == [0.0, pytest.approx(100.5, abs=0.6)]
    assert second == [50.0 + START_S + 1.0, 200.0]
    assert again == [pytest.approx(first[1] + START_S + 1.0), 200.0]
