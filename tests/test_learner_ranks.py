"""Ranks as one learner on a real private Ray: one dies, one fails, all come back. Small plain classes as actors."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fundus_ray.actors import Actor
from fundus_ray.errors import DeliveryError, ImagesError, ProcessDiedError, WorkerDiedError
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.places import rank_names
from fundus_ray.types import ImageRef, PolicyVersion, StepResult, TrainBatch

import ray  # isort: skip  # after fundus_ray.actors, which sets how loud Ray is


class Peer:
    """Speaks a rank's methods. `roles`: policy step -> what goes wrong there, for this rank."""

    def __init__(self, rank: int, roles: dict[int, str]) -> None:
        self._rank = rank
        self._roles = roles
        self._step = -1

    def pid(self) -> int:
        return os.getpid()

    def start(self) -> None:
        self._step = 0

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        gone = {place: f"image {ref.path} does not exist" for place, ref in enumerate(images)}
        return gone if "sees no images" in self._roles.values() else {}

    def update(self, batch: TrainBatch) -> StepResult:
        role = self._roles.get(batch.policy_step, "")
        if role == "waits":
            time.sleep(1000)
        if role == "loses its peer":
            time.sleep(0.2)
            raise RuntimeError("Connection closed by peer [127.0.0.1]:1")
        if role == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if role == "fails":
            raise FloatingPointError("gradient norm nan")
        if role == "refuses":
            raise DeliveryError("its own error")
        self._step = batch.policy_step + 1
        return StepResult(step=self._step, seconds=0.0, metrics={"rank": float(self._rank)})

    def publish(self) -> tuple[PolicyVersion, bytes | None]:
        return PolicyVersion(step=self._step, sha256=f"of-{self._rank}"), bytes(9) if self._rank == 0 else None

    def save(self, folder: str) -> None:
        if self._rank == 0:
            (Path(folder) / "learner.txt").write_text(str(self._step))

    def load(self, folder: str) -> None:
        self._step = int((Path(folder) / "learner.txt").read_text())


@pytest.fixture(scope="module")
def private_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def spawner(*roles: dict[int, str]) -> tuple[Callable[[], list[Actor]], list[Actor]]:
    """What makes the ranks, and where it notes all that it made."""
    made: list[Actor] = []

    def spawn() -> list[Actor]:
        new = [
            Actor(name, ray.remote(Peer).options(num_cpus=0).remote(rank, own), None)
            for rank, (name, own) in enumerate(zip(rank_names(len(roles)), roles, strict=True))
        ]
        made.extend(new)
        return new

    return spawn, made


def batch_at(step: int) -> TrainBatch:
    ints = np.ones(1, dtype=np.int64)
    return TrainBatch(
        token_ids=np.ones((1, 2), dtype=np.int64),
        prompt_lens=ints,
        seq_lens=ints + 1,
        behaviour_logprobs=np.zeros((1, 2), dtype=np.float32),
        rewards=np.zeros(1),
        policy_steps=ints,
        image_index=ints * 0,
        images=(ImageRef(path="s.png", sha256="0", width_px=28, height_px=28),),
        policy_step=step,
    )


async def gone(actor: Actor) -> None:
    """Until the actor's process has ended."""
    async with asyncio.timeout(20):
        while True:
            try:
                await actor.call("pid", doing="saying its pid", limit_s=20.0)
            except ProcessDiedError:
                return
            await asyncio.sleep(0.05)


def test_one_rank_keeps_its_old_name_and_several_are_numbered() -> None:
    assert rank_names(1) == ["learner"]
    assert rank_names(3) == ["learner-0", "learner-1", "learner-2"]


async def test_rank_0_answers_for_all_and_all_load_what_it_saved(private_ray: None, tmp_path: Path) -> None:
    spawn, made = spawner({}, {})
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=60.0)
    assert (await learner.update(batch_at(4))).metrics == {"rank": 0.0}
    published = await learner.publish()
    assert published.version == PolicyVersion(step=5, sha256="of-0")
    assert isinstance(published.payload, ray.ObjectRef)
    assert await published.payload == bytes(9)
    await learner.save(str(tmp_path))
    await learner.restart(limit_s=60.0)
    await learner.load(str(tmp_path))
    versions = [await actor.call("publish", doing="telling", limit_s=30.0) for actor in made[2:]]
    assert [version.step for version, _ in versions] == [5, 5]
    await gone(made[0])
    await gone(made[1])


@pytest.mark.parametrize("other", ["waits", "loses its peer"])
async def test_a_dead_rank_is_named_at_once_and_the_others_are_ended_and_come_back(
    private_ray: None, other: str
) -> None:
    spawn, made = spawner({1: other}, {1: "dies"})
    learner = LearnerRanks(spawn, limit_s=300.0)
    await learner.start(limit_s=60.0)
    pids = [await actor.call("pid", doing="saying its pid", limit_s=30.0) for actor in made]
    with pytest.raises(ProcessDiedError, match="learner-1 died while updating policy version 1"):
        async with asyncio.timeout(60):  # far less than limit_s, which the other one would have waited
            await learner.update(batch_at(1))
    await gone(made[0])
    with pytest.raises(ProcessDiedError):  # there is no half a learner
        await learner.update(batch_at(2))
    await learner.restart(limit_s=60.0)
    assert (await learner.update(batch_at(2))).step == 3
    new = [await actor.call("pid", doing="saying its pid", limit_s=30.0) for actor in made[2:]]
    assert not set(new) & set(pids)


async def test_a_rank_that_fails_is_named_while_the_other_waits_for_it(
    private_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fundus_ray.learner_ranks.DEATH_S", 0.3)
    spawn, made = spawner({1: "waits", 2: "waits"}, {1: "fails", 2: "refuses"})
    learner = LearnerRanks(spawn, limit_s=300.0)
    await learner.start(limit_s=60.0)
    with pytest.raises(WorkerDiedError, match=r"learner-1 failed while updating .*: FloatingPointError: gradient norm"):
        await learner.update(batch_at(1))
    await gone(made[0])
    await learner.restart(limit_s=60.0)
    with pytest.raises(DeliveryError, match="its own error"):
        await learner.update(batch_at(2))


async def test_images_that_one_rank_cannot_read_are_told_before_any_rank_updates(private_ray: None) -> None:
    spawn, _ = spawner({}, {-1: "sees no images"})
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=30.0)
    with pytest.raises(ImagesError) as caught:
        await learner.update(batch_at(3))
    assert caught.value.reasons == {0: "image s.png does not exist"}
    assert (await learner.publish()).version.step == 0, "no rank has updated, and all are there"


async def test_a_single_rank_that_fails_stays(private_ray: None) -> None:
    spawn, made = spawner({1: "fails"})
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=60.0)
    pid: Any = await made[0].call("pid", doing="saying its pid", limit_s=30.0)
    with pytest.raises(WorkerDiedError, match="learner failed while updating policy version 1: FloatingPointError"):
        await learner.update(batch_at(1))
    assert (await learner.update(batch_at(2))).step == 3
    assert await made[0].call("pid", doing="saying its pid", limit_s=30.0) == pid
