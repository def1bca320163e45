"""The real loop with engine and learner on one GPU, which raises where both would hold it; only the work is made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from test_loop import Engines, Run, Student

from fundus_ray.colocation import TakingTurns
from fundus_ray.errors import WorkerDiedError
from fundus_ray.loop import Parts, Published, deliver
from fundus_ray.types import DeliveryProof, Prompt, RolloutGroup, StepResult, TrainBatch


class Gpu:
    """Memory for one of two."""

    def __init__(self) -> None:
        self.holder = "engine"
        self.events: list[str] = []

    def move(self, event: str, *, holder: str, expected: str) -> None:
        assert self.holder == expected, f"{event} while {self.holder or 'nobody'} has the GPU"
        self.holder = holder
        self.events.append(event)

    def use(self, event: str, *, by: str) -> None:
        self.move(event, holder=by, expected=by)


class Engine(Engines):
    """Sleeps and wakes; a request is under way from `generate`'s begin to its end."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu, self.under_way = gpu, 0

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        assert self.gpu.holder == "engine"
        self.under_way += 1
        for _ in range(5 * prompt.group_id):  # the later, the slower
            await asyncio.sleep(0)
        group = await super().generate(prompt)
        self.under_way -= 1
        assert self.gpu.holder == "engine"
        return group

    async def set_policy(self, published: Published) -> Sequence[DeliveryProof]:
        self.gpu.use(f"take {published.version.step}", by="engine")
        return await super().set_policy(published)

    async def sleep(self) -> None:
        if self.under_way:
            raise WorkerDiedError(f"told to sleep with {self.under_way} requests under way")
        if self.gpu.holder == "engine":
            self.gpu.move("sleep", holder="", expected="engine")

    async def wake(self) -> None:
        if self.gpu.holder != "engine":
            self.gpu.move("wake", holder="engine", expected="")


class Learner(Student):
    """Starts off the GPU, where it can publish and be saved too; a restart brings it back there."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    async def onload(self) -> None:
        if self.gpu.holder != "learner":
            self.gpu.move("onload", holder="learner", expected="")

    async def offload(self) -> None:
        if self.gpu.holder == "learner":
            self.gpu.move("offload", holder="", expected="learner")

    async def update(self, batch: TrainBatch) -> StepResult:
        self.gpu.use("update", by="learner")
        return await super().update(batch)

    async def save(self, folder: str) -> None:
        self.gpu.events.append(f"save {folder}")

    async def load(self, folder: str) -> None:
        self.gpu.events.append(f"load {folder}")

    async def restart(self, *, limit_s: float) -> None:
        if self.gpu.holder == "learner":  # its processes are gone, and with them what they held
            self.gpu.holder = ""
        self.gpu.events.append("restart")


class System:
    """Both, taking turns, in a run of the loop."""

    def __init__(self, *overrides: str, drop: Sequence[int] = ()) -> None:
        self.gpu = Gpu()
        self.run = Run("loop.async_ratio=0", *overrides, drop=lambda group_id: group_id in drop)
        self.engine, self.learner = Engine(self.gpu), Learner(self.gpu)
        self.turns = TakingTurns(self.learner, engines=self.engine, trace=self.run.trace)
        self.run.parts = Parts(rollouts=self.engine, reward=self.run.judge, learner=self.turns)


async def test_engine_sleeps_through_each_update_and_is_awake_before_the_version_arrives() -> None:
    system = System("loop.steps=2", drop=(1,))
    await deliver(system.run.parts, trace=system.run.trace)
    totals = await system.run.train()
    assert totals.position.step == 2
    turn = ["sleep", "onload", "update", "offload", "wake"]
    assert system.gpu.events == ["take 0", *turn, "take 1", *turn, "take 2"]
    assert {span.name for span in system.run.trace.window(start_s=0, end_s=2e10)} >= {"sleep", "wake", "update"}


async def test_the_engine_is_awake_while_a_group_is_written_in_the_place_of_one_that_the_learner_cannot_read() -> None:
    system = System("loop.steps=1")
    system.learner.gone = {"1.png"}
    await deliver(system.run.parts, trace=system.run.trace)
    totals = await system.run.train()
    assert totals.dropped == {"quarantined": 1}
    turn = ["sleep", "onload", "update", "offload", "wake"]
    assert system.gpu.events == ["take 0", *turn, *turn, "take 1"]


async def test_a_run_ahead_would_be_cut_off_by_the_sleep_and_says_so() -> None:
    system = System("loop.steps=3", "learner.correction=tis")
    system.run.config.loop.async_ratio = 2.0  # which the configuration refuses beside ray.colocate
    with pytest.raises(WorkerDiedError, match="requests under way"):
        await system.run.train()


async def test_a_learner_that_died_in_its_turn_is_made_anew_before_the_engine_wakes() -> None:
    system = System()
    await system.engine.sleep()
    await system.learner.onload()
    await system.turns.restart(limit_s=1.0)
    await system.turns.load("checkpoint-2")
    await deliver(system.run.parts, trace=system.run.trace)
    await system.turns.save("checkpoint-3")
    assert system.gpu.events == [
        "sleep",
        "onload",
        "restart",
        "load checkpoint-2",
        "wake",
        "take 0",
        "save checkpoint-3",
    ]
