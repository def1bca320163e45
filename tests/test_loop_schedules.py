"""The real loop, buffer and pools under hundreds of random schedules on a virtual clock.

Engines of uneven speed and reward workers that die, or freeze, and return, in any call; samples that kill their engine
each time, or that an engine or the learner refuses; random times of everything, groups that are dropped, windows,
fractional ratios, last steps with fewer slots. Asserted is what must hold whatever the times.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from plain_sample import prompt

from fundus_ray.config import Config, load
from fundus_ray.config.rules import check as check_rules
from fundus_ray.crew import Care
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.errors import ImagesError, ProcessDiedError, SampleError
from fundus_ray.loop import Parts, Position, Published, Totals, deliver, train
from fundus_ray.obs.faults import Fault
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.policy.live_versions import LiveVersions
from fundus_ray.quarantine import Quarantine
from fundus_ray.reward_pool import RewardPool
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    Pulse,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sampling,
    ScoredGroup,
    ScoredRollout,
    StepResult,
    TrainBatch,
)

RATIOS, GROUPS, WINDOWS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0), (1, 2, 5), (0, 1, 3, 20)
SCHEDULES_A_CASE = 25  # a case is a ratio and a number of groups a step: 21 cases
STEPS = 5
HANG_S = 200.0


@functools.cache
def loaded() -> Config:
    """What all schedules have in common. Loading it takes longer than a schedule."""
    limits = ["loop.stall_s=1e9", "loop.checkpoint_every=0", "learner.updates_per_batch=1"]
    return load(None, [f"loop.steps={STEPS}", "reward.workers=2", "loop.async_ratio=1", *limits])


@functools.cache
def settings(ratio: float, groups: int, window: int, workers: int) -> Config:
    """As loaded with these; a window needs a ratio above 0."""
    config = copy.deepcopy(loaded())
    config.loop.async_ratio, config.loop.groups_per_step, config.loop.window = ratio, groups, window
    config.rollout.workers = workers
    check_rules(config)
    return config


class World:
    """One schedule's chances, and what is known from outside."""

    def __init__(self, config: Config, *, seed: int) -> None:
        self.config = config
        self.chance = random.Random(seed)
        self.death = self.chance.choice([0.0, 0.01, 0.1])  # of an engine, or a reward worker, in a call
        self.freeze = self.chance.choice([0.0, 0.3])  # share of these deaths in which the process stays, doing nothing
        self.unusable = self.chance.choice([0.0, 0.0, 0.05])  # share of samples, for each of three reasons
        self.drop = self.chance.choice([0.0, 0.3, 0.8])
        self.restarts = 10**6  # of engines, and of reward workers, that are allowed
        self.live = -1  # the version that `set_policy` came back with
        self.deaths, self.restarts_logged = 0, 0
        self.fates: dict[str, str] = {}  # sample id -> what is wrong with it
        self.left_out: dict[int, str] = {}  # group id -> reason
        self.freezes, self.hung = 0, 0
        self.admitted: list[int] = []
        self.trained: list[int] = []
        self.dropped: list[int] = []
        self.lags: Counter[int] = Counter()
        self.under_way, self.most_under_way = 0, 0

    async def pause(self, *seconds: float) -> None:
        await asyncio.sleep(self.chance.choice(seconds))

    def fate(self, sample_id: str) -> str:
        if sample_id not in self.fates:
            kinds = ("kills its engine", "refused by engines", "refused by the learner")
            drawn = self.chance.random() / self.unusable if self.unusable else math.inf
            self.fates[sample_id] = kinds[int(drawn)] if drawn < len(kinds) else ""
        return self.fates[sample_id]

    def note_quarantined(self, prompt: Prompt, reason: str) -> None:
        assert self.left_out.setdefault(prompt.group_id, reason) is reason, "a group was left out twice"
        self.under_way -= 1

    def note_fault(self, fault: Fault) -> None:
        self.hung += fault.kind == "hung"
        assert fault.recover_s is None or fault.recover_s >= 0


class Mortal:
    """A worker whose every call may be its death."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world
        self.slowness = world.chance.choice([1.0, 1.0, 5.0])
        self.dead, self.frozen = asyncio.Event(), False

    async def _work(self, *seconds: float, fatal: bool = False, may_freeze: bool = True) -> None:
        if (fatal or self.world.chance.random() < self.world.death) and not self.dead.is_set():
            if may_freeze and not fatal and self.world.chance.random() < self.world.freeze:
                self.frozen = True
                self.world.freezes += 1
            else:
                self.world.deaths += 1
                self.dead.set()
        limit_s = None if self.frozen else self.slowness * self.world.chance.choice(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.dead.wait()
        if self.dead.is_set():
            raise ProcessDiedError(f"{self.name} died")

    async def placed(self) -> None:
        await self.world.pause(0.0, 10.0)

    async def pulse(self) -> Pulse:
        if self.frozen:
            await self.dead.wait()
        if self.dead.is_set():
            raise ProcessDiedError(f"{self.name} died")
        return Pulse()

    async def start(self) -> None:
        await self._work(3.0, 60.0, may_freeze=False)  # a start has a limit of its own

    async def close(self, *, limit_s: float) -> None:
        pass


class Engine(Mortal):
    """Has the places for versions that a real one has, and keeps the same books of them."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.live = LiveVersions(world.config.live_adapters, worker=name)
        self.served: PolicyVersion | None = None

    async def take(self, published: Published) -> DeliveryProof:
        self.live.arrive(published.version)  # raises where requests run under too many versions
        await self._work(0.0, 0.1, 2.0)
        return DeliveryProof(
            worker=self.name,
            version=published.version,
            sha256=published.version.sha256,
            listed=True,
            probe_error=0.0,
            probe_shift=None,
            seconds=0.0,
        )

    async def serve(self, version: PolicyVersion) -> None:
        await self._work(0.0, 0.1)
        self.live.serve(version)
        self.live.retire()
        self.served = version

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        written_by = self.served
        assert written_by is not None
        assert written_by.step >= self.world.live, "a prompt came to an engine that is behind"
        fate = self.world.fate(prompt.sample.id)
        with self.live.lease(written_by):
            await self._work(0.0, 0.5, 1.0, 20.0, fatal=fate == "kills its engine")
        if fate == "refused by engines":
            raise SampleError(fate)
        self.live.retire()
        rollouts = tuple(
            Rollout(token_ids=(1,), logprobs=(-1.0,), text="", finish_reason="stop", seed=i, policy=written_by)
            for i in range(2)
        )
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(1,),
            rollouts=rollouts,
            worker=self.name,
            started_s=0.0,
            finished_s=0.0,
        )

    async def sleep(self) -> None:
        raise AssertionError("only engines that take turns with the learner sleep")

    async def wake(self) -> None:
        raise AssertionError("only engines that take turns with the learner sleep")

    def again(self) -> Engine:
        return Engine(self.name, self.world)


class Pool(RolloutPool):
    """The real one; tells the world when a version is live."""

    def __init__(self, world: World, trace: Trace) -> None:
        config = world.config
        self.world = world
        super().__init__(
            [Engine(f"rollout-{i}", world) for i in range(config.rollout.workers)],
            sampling=Sampling(n=2, temperature=1.0, max_tokens=1),
            probe_tolerance=1e-3,
            care=care("engine", world),
            trace=trace,
        )

    async def set_policy(self, published: Published) -> list[DeliveryProof]:
        proofs = await super().set_policy(published)
        self.world.live = published.version.step
        return proofs


def care(role: str, world: World) -> Care:
    return Care(role, f"{role}.restarts", restarts=world.restarts, hang_s=HANG_S, place_s=1e6, tell=world.note_fault)


class Reward(Mortal):
    def again(self) -> Reward:
        return Reward(self.name, self.world)

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        await self._work(0.0, 0.2, 5.0)
        dropped = self.world.chance.random() < self.world.drop
        self.world.under_way -= dropped
        scored = tuple(
            ScoredRollout(
                rollout=rollout,
                status=RewardStatus.SCORED,
                total=total,
                parts={"accuracy": total},
                answer=None,
                findings=(),
                claims=(),
                explanation=(),
                evidence=(),
                snapshot="",
            )
            for rollout, total in zip(group.rollouts, (1.0, 0.0), strict=True)
        )
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=not dropped,
            drop_reason="no_spread" if dropped else "",
            started_s=0.0,
            finished_s=0.0,
        )


def reward_pool(world: World, trace: Trace) -> RewardPool:
    workers = [Reward(f"reward-{i}", world) for i in range(world.config.reward.workers)]
    return RewardPool(workers, care=care("reward", world), trace=trace)


class Learner:
    def __init__(self, world: World, *, step: int) -> None:
        self.world, self.step = world, step

    async def update(self, batch: TrainBatch) -> StepResult:
        await self.world.pause(0.0, 1.0, 10.0)
        if gone := {i: ref.path for i, ref in enumerate(batch.images) if self.world.fate(ref.path).endswith("learner")}:
            raise ImagesError(gone)
        self.world.lags.update((batch.policy_step - batch.policy_steps).tolist())
        self.step += 1
        return StepResult(step=self.step, seconds=0.0)

    async def publish(self) -> Published:
        await self.world.pause(0.0, 0.3)
        return Published(version=PolicyVersion(step=self.step, sha256="0"), payload=None)


class Book:
    def __init__(self, world: World) -> None:
        self.world = world

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        assert metrics["async/ratio"] == self.world.config.loop.async_ratio
        self.world.restarts_logged += int(metrics["engine_restarts"] + metrics["faults/reward_restarts"])
        assert 0.0 <= metrics["off_policy_share"] <= 1.0

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        for scored in groups:
            where = self.world.trained if scored.trainable else self.world.dropped
            where.append(scored.group.prompt.group_id)
        self.world.under_way -= sum(scored.trainable for scored in groups)


async def simulate(world: World, *, start: Position, stop_after: int | None = None) -> Totals:
    """One run of the real loop."""
    trace = Trace(clock=asyncio.get_running_loop().time)
    stop = asyncio.Event()
    parts = Parts(
        rollouts=Pool(world, trace),
        reward=reward_pool(world, trace),
        learner=Learner(world, step=start.step),
    )

    def prompt_at(group_id: int) -> Prompt:
        world.admitted.append(group_id)
        world.under_way += 1
        world.most_under_way = max(world.most_under_way, world.under_way)
        plain = prompt(group_id)
        image = replace(plain.sample.image, path=plain.sample.id)
        return replace(plain, sample=replace(plain.sample, image=image))

    async def checkpoint(position: Position) -> None:
        await world.pause(0.0, 1.0)

    await deliver(parts, trace=trace)
    if stop_after is not None:
        asyncio.get_running_loop().call_later(stop_after, stop.set)
    totals = await train(
        world.config,
        parts=parts,
        prompt_at=prompt_at,
        trace=trace,
        observer=Book(world),
        quarantine=Quarantine(limit=10**6, note=world.note_quarantined),
        checkpoint=checkpoint,
        stop=stop,
        start=start,
    )
    for pool in (parts.rollouts, parts.reward):
        assert isinstance(pool, Pool | RewardPool)
        await pool.close(limit_s=1.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return totals


def check(world: World, position: Position) -> None:
    """What must hold at the end of every schedule."""
    config = world.config
    assert world.restarts_logged <= world.deaths + world.freezes
    assert max(world.lags, default=0) <= math.ceil(config.loop.async_ratio)
    assert min(world.lags, default=0) >= 0
    assert world.most_under_way <= config.buffer_capacity
    for group_id, reason in world.left_out.items():
        assert group_id not in world.trained
        assert world.fate(f"s{group_id}") or "at 3 deaths" in reason
    assert not any(world.fate(f"s{group_id}") for group_id in world.trained)
    done = world.trained + world.dropped
    assert len(set(done)) == len(done), "a group was trained twice"
    assert set(done) == {*range(position.group_id), *position.passed}, "a resume would lose or repeat a group"
    assert len(world.trained) == position.step * config.loop.groups_per_step
    if not config.loop.window:
        assert position.passed == ()


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_any_schedule_keeps_every_promise(ratio: float, groups: int) -> None:
    deaths = restarts = hung = left_out = 0
    for number in range(SCHEDULES_A_CASE):
        seed = hash((ratio, groups, number))  # of numbers: the same in every process
        draw = random.Random(seed)
        window = draw.choice(WINDOWS) if ratio else 0
        world = World(settings(ratio, groups, window, draw.randint(1, 4)), seed=seed)
        totals = run_virtual(functools.partial(simulate, world, start=Position()))
        check(world, totals.position)
        assert totals.position.step == STEPS
        deaths += world.deaths + world.freezes
        restarts += world.restarts_logged
        hung += world.hung
        left_out += len(world.left_out)
    assert deaths > restarts > 0  # the schedules do what they are for
    assert hung > 0
    assert left_out > 0


@pytest.mark.parametrize("window", [0, 3])
def test_a_run_that_is_stopped_anywhere_and_resumed_trains_each_group_once(window: int) -> None:
    stopped_early = 0
    for seed in range(40):
        world = World(settings(0.5, 5, window, 2), seed=seed)
        world.death = 0.0
        first = run_virtual(functools.partial(simulate, world, start=Position(), stop_after=seed))
        check(world, first.position)
        stopped_early += first.position.step < STEPS
        world.under_way = 0  # what was under way is lost, and written again
        world.left_out = {group: reason for group, reason in world.left_out.items() if group in world.dropped}
        second = run_virtual(functools.partial(simulate, world, start=first.position))
        check(world, second.position)
        assert second.position.step == STEPS
    assert stopped_early > 10
