"""Ranks as one learner on a real private Ray: one dies, one fails, all come back; small plain classes as actors.
At the end two real ranks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from fundus_ray.actors import Actor
from fundus_ray.config import load
from fundus_ray.errors import ImagesError, ProcessDiedError, WorkerDiedError
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.places import rank_names
from fundus_ray.types import ImageRef, PolicyVersion, Sample, StepResult, TrainBatch

import ray  # isort: skip  # after fundus_ray.actors, which sets how loud Ray is


class Peer:
    """Speaks a rank's methods. `role`: what goes wrong with this rank's first update."""

    def __init__(self, rank: int, role: str) -> None:
        self._rank = rank
        self._role = role
        self._step = -1

    def address(self) -> str:
        return f"10.0.0.{self._rank if self._role == 'elsewhere' else 0}"

    def listen(self, host: str) -> int:
        return 4321

    def start(self, meeting: tuple[str, int, str] | None) -> None:
        self._meeting = meeting
        self._step = 0

    def met(self) -> tuple[str, int, str] | None:
        return self._meeting

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        gone = {place: f"image {ref.path} does not exist" for place, ref in enumerate(images)}
        return gone if self._role == "sees no images" else {}

    def update(self, batch: TrainBatch) -> StepResult:
        role, self._role = self._role, ""
        if role == "waits":
            time.sleep(1000)
        if role == "loses its peer":
            raise RuntimeError("Connection closed by peer [127.0.0.1]:1")
        if role == "dies":
            time.sleep(0.2)  # after the other one has told that it lost this one
            os.kill(os.getpid(), signal.SIGKILL)
        if role == "fails":
            raise FloatingPointError("gradient norm nan")
        self._step = batch.policy_step + 1
        return StepResult(step=self._step, seconds=0.0, metrics={"rank": float(self._rank)})

    def publish(self) -> tuple[PolicyVersion, bytes] | tuple[None, None]:
        return (None, None) if self._rank else (PolicyVersion(step=self._step, sha256="of-0"), bytes(9))

    def save(self, folder: str) -> None:
        if self._rank == 0:
            (Path(folder) / "learner.txt").write_text(str(self._step))

    def load(self, folder: str) -> None:
        self._step = int((Path(folder) / "learner.txt").read_text())

    def step(self) -> int:
        return self._step


@pytest.fixture(scope="module")
def private_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def batch() -> TrainBatch:
    """One row, at policy step 0."""
    ints = np.ones(1, dtype=np.int64)
    return TrainBatch(
        token_ids=np.ones((1, 2), dtype=np.int64),
        prompt_lens=ints,
        seq_lens=ints + 1,
        behaviour_logprobs=np.zeros((1, 2), dtype=np.float32),
        rewards=np.zeros(1),
        policy_steps=ints * 0,
        image_index=ints * 0,
        images=(ImageRef(path="s.png", sha256="0", width_px=28, height_px=28),),
        policy_step=0,
    )


def spawner(*roles: str) -> tuple[Callable[[], list[Actor]], list[Actor]]:
    """What makes the ranks, those that come later without a role; and where it notes all that it made."""
    made: list[Actor] = []

    def spawn() -> list[Actor]:
        own = [""] * len(roles) if made else roles
        names = rank_names(len(roles))
        new = [actor(name, Peer, rank, role) for rank, (name, role) in enumerate(zip(names, own, strict=True))]
        made.extend(new)
        return new

    return spawn, made


def actor(name: str, worker: type, *args: object) -> Actor:
    return Actor(name, ray.remote(worker).options(num_cpus=0).remote(*args), None)


async def until_gone(rank: Actor) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await rank.call("step", doing="telling", limit_s=20.0)
            except ProcessDiedError:
                return


def test_one_rank_keeps_its_name_and_several_are_numbered() -> None:
    assert rank_names(1) == ["learner"]
    assert rank_names(3) == ["learner-0", "learner-1", "learner-2"]


async def test_rank_0_answers_for_all_and_new_ranks_load_what_it_saved(
    private_ray: None, batch: TrainBatch, tmp_path: Path
) -> None:
    spawn, made = spawner("", "elsewhere")
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=60.0)
    # On two machines: at an address that each of them reaches.
    met = [await rank.call("met", doing="telling", limit_s=30.0) for rank in made]
    assert met == [("10.0.0.0", 4321, "10.0.0.0"), ("10.0.0.0", 4321, "10.0.0.1")]
    assert (await learner.update(batch)).metrics == {"rank": 0.0}
    published = await learner.publish()
    assert published.version == PolicyVersion(step=1, sha256="of-0")
    assert isinstance(published.payload, ray.ObjectRef)
    assert await published.payload == bytes(9)
    await learner.save(str(tmp_path))
    await learner.restart(limit_s=60.0)
    await learner.load(str(tmp_path))
    for old in made[:2]:
        await until_gone(old)
    assert [await new.call("step", doing="telling", limit_s=30.0) for new in made[2:]] == [1, 1]
    # On one machine: nothing is seen from outside.
    met = [await rank.call("met", doing="telling", limit_s=30.0) for rank in made[2:]]
    assert met == [("127.0.0.1", 4321, "127.0.0.1")] * 2


async def test_a_dead_rank_is_named_at_once_and_all_are_ended_and_come_back(
    private_ray: None, batch: TrainBatch
) -> None:
    spawn, made = spawner("loses its peer", "dies", "waits")
    learner = LearnerRanks(spawn, limit_s=300.0)
    await learner.start(limit_s=60.0)
    with pytest.raises(ProcessDiedError, match="learner-1 died while updating policy version 0"):
        async with asyncio.timeout(60):  # far less than limit_s, which the others would have waited
            await learner.update(batch)
    for old in made:
        await until_gone(old)
    with pytest.raises(ProcessDiedError):  # there is no part of a learner
        await learner.update(batch)
    await learner.restart(limit_s=60.0)
    assert (await learner.update(batch)).step == 1


async def test_a_rank_that_fails_is_named_while_the_other_waits_for_it(
    private_ray: None, batch: TrainBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fundus_ray.learner_ranks.DEATH_S", 0.3)
    spawn, made = spawner("waits", "fails")
    learner = LearnerRanks(spawn, limit_s=300.0)
    await learner.start(limit_s=60.0)
    with pytest.raises(WorkerDiedError, match=r"^learner-1 failed while .*: FloatingPointError: gradient norm"):
        await learner.update(batch)
    await until_gone(made[0])


async def test_images_that_one_rank_cannot_read_are_told_before_any_rank_updates(
    private_ray: None, batch: TrainBatch
) -> None:
    spawn, _ = spawner("", "sees no images")
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=60.0)
    with pytest.raises(ImagesError) as caught:
        await learner.update(batch)
    assert caught.value.reasons == {0: "image s.png does not exist"}
    assert (await learner.publish()).version.step == 0, "no rank has updated, and all are there"


async def test_a_single_rank_that_fails_stays(private_ray: None, batch: TrainBatch) -> None:
    spawn, made = spawner("fails")
    learner = LearnerRanks(spawn, limit_s=30.0)
    await learner.start(limit_s=60.0)
    assert await made[0].call("met", doing="telling", limit_s=30.0) is None
    with pytest.raises(WorkerDiedError, match="learner failed while updating policy version 0: FloatingPointError"):
        await learner.update(batch)
    assert (await learner.update(batch)).step == 1
    assert len(made) == 1


async def test_two_real_ranks_update_together_until_one_is_killed_in_the_middle(
    private_ray: None, tiny_policy: Path, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    # Here, since every small actor above imports this file, and these bring PyTorch.
    from rank_process import make_batch

    from fundus_ray.learner.actor import LearnerRank

    config = load(None, ["policy.lora_rank=4", "learner.ranks=2", "learner.shard=true", "loop.groups_per_step=2"])
    made = [
        actor(name, LearnerRank, config, str(tiny_policy), str(tmp_path / f"{name}.log"), rank)
        for rank, name in enumerate(rank_names(2))
    ]
    learner, batch = LearnerRanks(lambda: made, limit_s=300.0), make_batch(tiny_policy, samples[:2], seed=0)
    await learner.start(limit_s=200.0)
    first = await learner.update(batch)
    assert (first.step, first.metrics["learner/image_cache_misses"]) == (1, 2.0)
    assert 0.5 < first.metrics["learner/rank_balance"] <= 1
    assert (await learner.publish()).version.step == 1
    await learner.save(str(tmp_path))
    await learner.load(str(tmp_path))

    def stop_before_the_gradients_are_added(rank: LearnerRank) -> int:
        rank._worker._ranks.add_gradients = lambda parameters: os.kill(os.getpid(), signal.SIGSTOP)  # type: ignore[method-assign]
        return os.getpid()

    pid = await made[1].handle.__ray_call__.remote(stop_before_the_gradients_are_added)
    under_way = asyncio.create_task(learner.update(batch))
    async with asyncio.timeout(120):
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProcessDiedError, match="learner-1 died while updating policy version 0"):
        async with asyncio.timeout(60):  # far less than limit_s, which the other would have waited for the gradients
            await under_way
