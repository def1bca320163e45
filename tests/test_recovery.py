"""A learner that dies at any moment: the run goes on from its last checkpoint as if nothing had been after it."""

from __future__ import annotations

import asyncio
import copy
import functools
import hashlib
import random
from collections.abc import Sequence

import pytest
from plain_sample import prompt
from test_loop_schedules import STEPS, Pool, World, reward_pool, settings

from fundus_ray.errors import ProcessDiedError, WorkerDiedError
from fundus_ray.loop import Parts, Position, Published, Totals, deliver, train
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.quarantine import Quarantine
from fundus_ray.recovery import train_through_deaths
from fundus_ray.types import PolicyVersion, Prompt, ScoredGroup, StepResult, TrainBatch


class Learner:
    """Its weights are the number of its updates and of its lives, so that a step made anew has another version. Dies in
    any call, with the world's chance."""

    def __init__(self, world: World, death: float) -> None:
        self.world, self.death = world, death
        self.made: list[int] = []  # of each update the life in which it was made
        self.life, self.alive, self.deaths = 0, True, 0

    async def _work(self, *seconds: float) -> None:
        if not self.alive or self.world.chance.random() < self.death:
            self.deaths += self.alive
            self.alive = False
            raise ProcessDiedError("learner died")
        await self.world.pause(*seconds)

    @property
    def version(self) -> PolicyVersion:
        return PolicyVersion(step=len(self.made), sha256=hashlib.sha256(repr(self.made).encode()).hexdigest())

    async def update(self, batch: TrainBatch) -> StepResult:
        await self._work(0.0, 1.0, 10.0)
        assert batch.policy_step == len(self.made)
        self.made.append(self.life)
        return StepResult(step=len(self.made), seconds=0.0)

    async def publish(self) -> Published:
        await self._work(0.0, 0.3)
        return Published(version=self.version, payload=None)

    async def save(self, folder: str) -> None:
        await self._work(0.0, 1.0)

    async def load(self, folder: str) -> None:
        await self._work(0.0, 1.0)

    async def restart(self, *, limit_s: float) -> None:
        await self.world.pause(1.0, 30.0)
        self.made, self.alive, self.life = [], True, self.life + 1
        await self._work(0.0)


class History:
    """The run folder: what was trained, by update, and the checkpoints."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.groups: dict[int, list[ScoredGroup]] = {}
        self.versions: dict[int, PolicyVersion] = {}
        self.saved: list[tuple[Position, list[int]]] = []

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        pass

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        assert step not in self.groups
        for scored in groups:
            if not scored.group.rollouts:  # its sample was given up
                continue
            policy = scored.group.policy
            assert self.versions[policy.step] == policy, "learned from a version that was taken back"
        self.groups[step] = list(groups)

    def cut_back(self, step: int) -> None:
        self.groups = {at: groups for at, groups in self.groups.items() if at <= step}
        self.versions = {at: version for at, version in self.versions.items() if at <= step}


async def simulate(world: World, learner: Learner, *, restarts: int) -> tuple[History, Totals]:
    """One run of the real loop, engines dying too."""
    trace = Trace(clock=asyncio.get_running_loop().time)
    history = History(learner)
    parts = Parts(rollouts=Pool(world, trace), reward=reward_pool(world, trace), learner=learner)

    def prompt_at(group_id: int) -> Prompt:
        return prompt(group_id)

    async def save(position: Position) -> None:
        await learner.save("")
        history.saved.append((position, list(learner.made)))

    class Deliveries:
        """Notes which version each step's is, as soon as an engine can write under it."""

        generate = staticmethod(parts.rollouts.generate)

        @staticmethod
        async def set_policy(published: Published):  # type: ignore[no-untyped-def]
            history.versions[published.version.step] = published.version
            return await parts.rollouts.set_policy(published)

    noted = Parts(rollouts=Deliveries(), reward=parts.reward, learner=learner)

    async def attempt(start: Position) -> Totals:
        return await train(
            world.config,
            parts=noted,
            prompt_at=prompt_at,
            trace=trace,
            observer=history,
            quarantine=Quarantine(limit=10**6, note=lambda prompt, reason: None),
            checkpoint=save,
            stop=asyncio.Event(),
            start=start,
        )

    async def restore(death: ProcessDiedError) -> Position:
        await learner.restart(limit_s=60.0)
        position, made = history.saved[-1]
        await learner.load("")
        learner.made = list(made)
        history.cut_back(position.step)
        await deliver(noted, trace=trace)
        return position

    history.saved.append((Position(), []))
    history.versions[0] = learner.version
    await parts.rollouts.set_policy(Published(version=learner.version, payload=None))
    try:
        totals = await train_through_deaths(attempt, start=Position(), restarts=restarts, restore=restore)
    finally:
        for pool in (parts.rollouts, parts.reward):
            await pool.close(limit_s=1.0)  # type: ignore[union-attr]
    return history, totals


@pytest.mark.parametrize("ratio", [0, 0.5, 2])
def test_any_deaths_of_learner_and_engines_leave_a_run_that_trained_each_group_once(ratio: float) -> None:
    deaths = 0
    for seed in range(25):
        draw = random.Random(seed)
        window = draw.choice([0, 3]) if ratio else 0
        config = copy.deepcopy(settings(ratio, 3, window, 2))
        config.loop.checkpoint_every = draw.choice([0, 1, 3])
        world = World(config, seed=seed)
        learner = Learner(world, death=draw.choice([0.02, 0.1]))
        history, totals = run_virtual(functools.partial(simulate, world, learner, restarts=10**6))
        deaths += learner.deaths
        assert totals.position.step == STEPS
        assert sorted(history.groups) == list(range(1, STEPS + 1))
        assert len(learner.made) == STEPS
        taken = [scored.group.prompt.group_id for groups in history.groups.values() for scored in groups]
        assert len(taken) == len(set(taken))  # none twice
        position = totals.position
        assert set(taken) == {*range(position.group_id), *position.passed}  # none lost
        for step, groups in history.groups.items():
            lags = [step - 1 - scored.group.policy.step for scored in groups if scored.trainable]
            assert len(lags) == world.config.loop.groups_per_step
            assert 0 <= min(lags) <= max(lags) <= world.config.max_lag
    assert deaths > 25  # the schedules do what they are for


def learner_that_dies_in(updates: set[int]) -> tuple[World, Learner]:
    world = World(settings(1, 3, 0, 2), seed=1)
    world.death = 0.0
    learner = Learner(world, death=0.0)
    real, count = learner.update, [0]

    async def update(batch: TrainBatch) -> StepResult:
        count[0] += 1
        if count[0] in updates:
            raise ProcessDiedError(f"learner died in call {count[0]}\nlearner.log ends: of thirst")
        return await real(batch)

    learner.update = update  # type: ignore[method-assign]
    return world, learner


def test_one_death_more_than_allowed_ends_the_run_with_its_cause() -> None:
    world, learner = learner_that_dies_in({2, 4, 6})
    history, _ = run_virtual(functools.partial(simulate, world, learner, restarts=3))
    assert len(history.groups) == STEPS
    world, learner = learner_that_dies_in({2, 4, 6})
    with pytest.raises(WorkerDiedError) as caught:
        run_virtual(functools.partial(simulate, world, learner, restarts=2))
    assert str(caught.value).splitlines() == [
        "learner died in call 6",
        "learner.log ends: of thirst",
        "The restarts are spent (learner.restarts=2). Deaths: 3; the last: learner died in call 6",
    ]


def test_an_engine_that_dies_after_its_last_restart_ends_the_run_and_restarts_no_learner() -> None:
    world = World(settings(1, 3, 0, 2), seed=1)
    world.death, world.freeze, world.restarts = 0.5, 0.0, 2
    learner = Learner(world, death=0.0)
    with pytest.raises(WorkerDiedError, match="The restarts are spent") as caught:
        run_virtual(functools.partial(simulate, world, learner, restarts=10))
    assert not isinstance(caught.value, ProcessDiedError)
    assert learner.life == 0


async def test_a_death_while_it_is_restored_counts_too() -> None:
    world = World(settings(1, 3, 0, 2), seed=1)
    learner = Learner(world, death=1.0)
    restored: list[str] = []

    async def attempt(start: Position) -> Totals:
        if start.step:
            return Totals(position=start)
        await learner.publish()
        raise AssertionError("it is dead")

    async def restore(death: ProcessDiedError) -> Position:
        restored.append(str(death))
        if len(restored) < 3:
            await learner.load("")
        return Position(step=5)

    totals = await train_through_deaths(attempt, start=Position(), restarts=3, restore=restore)
    assert totals.position.step == 5
    assert len(restored) == 3
