"""Versions and deaths of engines, with engines that are scripted, on a virtual clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from plain_sample import prompt

from fundus_ray.crew import Care
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.errors import DataError, DeliveryError, ProcessDiedError, WorkerDiedError
from fundus_ray.loop import Published
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    Pulse,
    Rollout,
    RolloutGroup,
    Sampling,
)

SAMPLING = Sampling(n=1, temperature=1.0, max_tokens=4)


def version(step: int) -> Published:
    return Published(version=PolicyVersion(step=step, sha256=f"hash-{step}"), payload=None)


@dataclass
class Diary:
    """What happened on all engines, and what is to happen."""

    events: list[tuple[float, str, str]] = field(default_factory=list)
    dies: Callable[[str], bool] = lambda _: False  # asked at each "NAME WHAT"
    fails: Callable[[str], Exception | None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)  # of "take", "generate", ...; 1 where not given
    wrong_probe: str = ""  # "NAME STEP"

    def of(self, what: str) -> list[tuple[float, str]]:
        return [(at, name) for at, name, event in self.events if event == what]


class Engine:
    """Every call takes its seconds; a dead engine fails all calls, those under way too."""

    def __init__(self, name: str, diary: Diary, life: int = 1) -> None:
        self.name, self.diary, self.life = name, diary, life
        self.death = asyncio.Event()
        self.held: list[int] = []
        self.served: int | None = None

    async def _do(self, what: str, event: str) -> None:
        self.diary.events.append((asyncio.get_running_loop().time(), self.name, event))
        if err := self.diary.fails(f"{self.name} {event}"):
            raise err
        if self.diary.dies(f"{self.name} {event}"):
            self.death.set()
        try:
            async with asyncio.timeout(self.diary.seconds.get(what, 1.0)):
                await self.death.wait()
        except TimeoutError:
            return
        raise ProcessDiedError(f"{self.name} died (life {self.life})")

    async def placed(self) -> None:
        pass

    async def pulse(self) -> Pulse:
        if self.death.is_set():
            raise ProcessDiedError(f"{self.name} died (life {self.life})")
        return Pulse()

    async def start(self) -> None:
        await self._do("start", "start")

    async def take(self, published: Published) -> DeliveryProof:
        step = published.version.step
        await self._do("take", f"take {step}")
        self.held.append(step)
        error = 0.5 if self.diary.wrong_probe == f"{self.name} {step}" else 0.0
        return DeliveryProof(
            worker=self.name,
            version=published.version,
            sha256=published.version.sha256,
            listed=True,
            probe_error=error,
            probe_shift=None,
            seconds=0.0,
        )

    async def serve(self, version: PolicyVersion) -> None:
        await self._do("serve", f"serve {version.step}")
        assert version.step in self.held
        self.served = version.step

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        assert self.served is not None, "a prompt came before a version"
        policy = PolicyVersion(step=self.served, sha256="0")
        await self._do("generate", f"generate {prompt.group_id}")
        rollout = Rollout(
            token_ids=(1,), logprobs=(-1.0,), text="", finish_reason="stop", seed=sampling.n, policy=policy
        )
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(1,),
            rollouts=(rollout,),
            worker=self.name,
            started_s=0.0,
            finished_s=0.0,
        )

    async def sleep(self) -> None:
        await self._do("sleep", "sleep")

    async def wake(self) -> None:
        await self._do("wake", "wake")

    async def close(self, *, limit_s: float) -> None:
        await self._do("close", "close")

    def again(self) -> Engine:
        return Engine(self.name, self.diary, self.life + 1)


def pool(
    diary: Diary, *, engines: int = 2, restarts: int = 5, hang_s: float = math.inf, trace: Trace | None = None
) -> RolloutPool:
    return RolloutPool(
        [Engine(f"rollout-{i}", diary) for i in range(engines)],
        sampling=SAMPLING,
        probe_tolerance=1e-3,
        care=Care(role="engine", setting="rollout.restarts", restarts=restarts, hang_s=hang_s),
        trace=trace or Trace(),
    )


def once(*events: str) -> Callable[[str], bool]:
    """Each of the events is fatal the first time."""
    left = set(events)

    def dies(event: str) -> bool:
        if event in left:
            left.remove(event)
            return True
        return False

    return dies


def test_requests_go_on_while_a_version_arrives_and_keep_the_one_that_they_began_with() -> None:
    # Delivery takes 5 s, a group 2 s: groups begin and end all the while, as without a delivery.
    diary = Diary(seconds={"take": 5.0, "generate": 2.0, "serve": 0.0})

    async def main() -> list[tuple[float, int]]:
        rollouts, done = pool(diary, engines=1), []
        await rollouts.set_policy(version(0))
        began = asyncio.get_running_loop().time()
        delivery = asyncio.create_task(rollouts.set_policy(version(1)))
        for group_id in range(4):
            group = await rollouts.generate(prompt(group_id))
            done.append((asyncio.get_running_loop().time() - began, group.policy.step))
        await delivery
        return done

    assert run_virtual(main) == [(2.0, 0), (4.0, 0), (6.0, 0), (8.0, 1)]


def test_no_engine_writes_under_a_version_that_one_of_them_did_not_prove() -> None:
    diary = Diary(wrong_probe="rollout-1 1")

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        with pytest.raises(DeliveryError, match=r"version 1 is not proven .*rollout-1: probe differs"):
            await rollouts.set_policy(version(1))
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(4)))
        assert {(g.worker, g.policy.step) for g in groups} == {("rollout-0", 0), ("rollout-1", 0)}

    run_virtual(main)
    assert diary.of("serve 1") == []


def test_no_engine_turns_to_a_version_before_the_slowest_has_proven_it() -> None:
    diary = Diary()

    async def main() -> None:
        rollouts = pool(diary)
        diary.seconds["take"] = 1.0
        await rollouts.set_policy(version(0))
        slow = rollouts._crew.here[1]
        slow.diary = Diary(seconds={"take": 30.0}, events=diary.events)  # type: ignore[attr-defined]
        await rollouts.set_policy(version(1))

    run_virtual(main)
    assert diary.of("take 1") == [(2.0, "rollout-0"), (2.0, "rollout-1")]
    assert diary.of("serve 1") == [(32.0, "rollout-0"), (32.0, "rollout-1")]


def test_groups_of_an_engine_that_died_are_written_by_others_and_it_takes_the_newest_version_before_a_prompt() -> None:
    diary = Diary(dies=once("rollout-0 generate 2"), seconds={"start": 50.0, "generate": 10.0})
    trace: list[Trace] = []

    async def main() -> None:
        trace.append(Trace(clock=asyncio.get_running_loop().time))
        rollouts = pool(diary, trace=trace[0])
        await rollouts.set_policy(version(0))
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(3)))  # 0 and 2 on rollout-0
        assert [(g.prompt.group_id, g.worker) for g in groups] == [(i, "rollout-1") for i in range(3)]
        assert len(await rollouts.set_policy(version(1))) == 1
        await asyncio.sleep(100.0)
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(3, 5)))
        assert {(g.worker, g.policy.step) for g in groups} == {("rollout-0", 1), ("rollout-1", 1)}
        proofs = await rollouts.set_policy(version(2))
        assert [(p.worker, p.version.step) for p in proofs] == [("rollout-0", 2), ("rollout-1", 2), ("rollout-0", 1)]

    run_virtual(main)
    first_life = ["take 0", "serve 0", "generate 0", "generate 2"]
    second_life = ["start", "take 1", "serve 1"]  # and never version 0
    assert [event for _, name, event in diary.events if name == "rollout-0"][:7] == first_life + second_life
    assert [(s.name, s.ids) for s in trace[0].window(start_s=0, end_s=1e9) if s.name == "restart"] == [
        ("restart", {"worker": "rollout-0", "role": "engine"})
    ]


def test_an_engine_that_returns_while_a_version_is_delivered_takes_that_version() -> None:
    # It dies at 2 s and is ready at 7, in the middle of the delivery of version 1 to the other, from 6 to 16 s.
    diary = Diary(dies=once("rollout-0 generate 0"), seconds={"start": 5.0})

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        await rollouts.generate(prompt(0))
        await asyncio.sleep(3.0)
        diary.seconds["take"] = 10.0
        await rollouts.set_policy(version(1))
        await asyncio.sleep(50.0)
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(2)))
        assert {(g.worker, g.policy.step) for g in groups} == {("rollout-0", 1), ("rollout-1", 1)}

    run_virtual(main)
    assert diary.of("take 1") == [(6.0, "rollout-1"), (17.0, "rollout-0")]
    assert [name for _, name in diary.of("take 0")] == ["rollout-0", "rollout-1"]


@pytest.mark.parametrize("death", ["take 1", "serve 1"])
def test_an_engine_that_dies_in_a_delivery_does_not_stop_the_others(death: str) -> None:
    diary = Diary(dies=once(f"rollout-0 {death}"))

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        proofs = await rollouts.set_policy(version(1))
        assert "rollout-1" in [p.worker for p in proofs]
        await asyncio.sleep(50.0)
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(2)))
        assert {(g.worker, g.policy.step) for g in groups} == {("rollout-0", 1), ("rollout-1", 1)}

    run_virtual(main)


@pytest.mark.parametrize("death", ["take 1", "serve 1"])
def test_a_delivery_in_which_every_engine_dies_ends_when_the_first_one_has_the_version(death: str) -> None:
    diary = Diary(dies=once(f"rollout-0 {death}", f"rollout-1 {death}"), seconds={"start": 20.0})

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        proofs = await rollouts.set_policy(version(1))
        assert {p.version.step for p in proofs} == {1}
        assert asyncio.get_running_loop().time() > 20.0
        assert (await rollouts.generate(prompt(0))).policy.step == 1

    run_virtual(main)


def test_prompts_wait_while_no_engine_is_there() -> None:
    diary = Diary(dies=once("rollout-0 generate 0"), seconds={"start": 60.0})

    async def main() -> float:
        rollouts = pool(diary, engines=1)
        await rollouts.set_policy(version(0))
        groups = await asyncio.gather(*(rollouts.generate(prompt(i)) for i in range(3)))
        assert [g.prompt.group_id for g in groups] == [0, 1, 2]
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 2.0 + 60.0 + 2.0 + 1.0  # delivery, start, delivery, generation


def test_a_death_after_the_last_restart_is_raised_to_every_caller() -> None:
    diary = Diary(dies=lambda event: event == "rollout-0 generate 0")

    async def main() -> None:
        rollouts = pool(diary, engines=1, restarts=1)
        await rollouts.set_policy(version(0))
        said = r"^rollout-0 died \(life 2\)\nThe restarts are spent .*restarts=1.\. Deaths: rollout-0 2; the last: roll"
        with pytest.raises(WorkerDiedError, match=said):
            await rollouts.generate(prompt(0))
        with pytest.raises(WorkerDiedError):
            await rollouts.generate(prompt(1))
        with pytest.raises(WorkerDiedError):
            await rollouts.set_policy(version(1))

    run_virtual(main)
    assert len(diary.of("start")) == 1


def test_an_engine_that_dies_while_it_starts_again_is_started_once_more() -> None:
    diary = Diary(dies=once("rollout-0 generate 0", "rollout-0 start"))

    async def main() -> None:
        rollouts = pool(diary, engines=1, restarts=2)
        await rollouts.set_policy(version(0))
        assert (await rollouts.generate(prompt(0))).worker == "rollout-0"

    run_virtual(main)
    assert len(diary.of("start")) == 2


def test_an_engine_that_cannot_prove_the_version_after_its_return_ends_the_run() -> None:
    diary = Diary(dies=once("rollout-0 generate 0"))

    async def main() -> None:
        rollouts = pool(diary, engines=1)
        await rollouts.set_policy(version(0))
        diary.wrong_probe = "rollout-0 0"
        with pytest.raises(DeliveryError, match="rollout-0: probe differs"):
            await rollouts.generate(prompt(0))

    run_virtual(main)


def test_an_error_that_is_no_death_is_raised_and_nothing_is_started_again() -> None:
    diary = Diary(fails=lambda event: DataError("image s.png") if event.endswith("generate 0") else None)

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        with pytest.raises(DataError, match=r"s\.png"):
            await rollouts.generate(prompt(0))
        assert (await rollouts.generate(prompt(1))).policy.step == 0

    run_virtual(main)
    assert diary.of("start") == []


def test_an_engine_that_dies_of_going_to_sleep_sleeps_once_it_is_back_under_the_newest_version() -> None:
    diary = Diary(dies=once("rollout-0 sleep"))

    async def main() -> None:
        rollouts = pool(diary, engines=1)
        await rollouts.set_policy(version(0))
        await rollouts.sleep()
        await rollouts.wake()
        await rollouts.set_policy(version(1))

    run_virtual(main)
    lived = ["take 0", "serve 0", "sleep"]
    assert [event for _, _, event in diary.events] == [*lived, "start", *lived, "wake", "take 1", "serve 1"]


def test_an_engine_that_dies_asleep_is_started_again_once_the_gpu_is_the_engines_again() -> None:
    diary = Diary()

    async def main() -> None:
        rollouts = pool(diary, engines=1, hang_s=10.0)
        await rollouts.set_policy(version(0))
        [engine] = rollouts._crew.here.values()
        await rollouts.sleep()
        engine.death.set()  # type: ignore[attr-defined]
        await asyncio.sleep(100.0)  # the learner's turn
        assert diary.of("start") == []
        await rollouts.wake()
        await rollouts.set_policy(version(1))
        assert (await rollouts.generate(prompt(0))).policy.step == 1
        await rollouts.close(limit_s=1.0)

    run_virtual(main)
    events = [event for _, _, event in diary.events]
    assert events == ["take 0", "serve 0", "sleep", "start", "take 1", "serve 1", "generate 0", "close"]


def test_closing_ends_a_restart_and_reports_what_went_wrong() -> None:
    diary = Diary(dies=once("rollout-0 generate 0", "rollout-1 close"), seconds={"start": 1e6})

    async def main() -> None:
        rollouts = pool(diary)
        await rollouts.set_policy(version(0))
        await rollouts.generate(prompt(0))
        problems = await rollouts.close(limit_s=30.0)
        assert [str(problem) for problem in problems] == ["rollout-1 died (life 1)"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)
