"""Replayed updates are made from the very batches that were recorded, by the real loop, whatever its schedule was."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from plain_sample import SAMPLE

from fundus_ray.config import Config, load
from fundus_ray.errors import DataError, ImagesError
from fundus_ray.loop import Parts, Position, Published, deliver, train
from fundus_ray.obs.recorded import recorded_file, write_recorded
from fundus_ray.obs.trace import Trace
from fundus_ray.quarantine import Quarantine
from fundus_ray.replay import NothingLeftOut, Replay
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    ScoredGroup,
    ScoredRollout,
    StepResult,
    TrainBatch,
)

STEPS = 6
SETTINGS = (f"loop.steps={STEPS}", "loop.groups_per_step=3", "loop.stall_s=20", "reward.hold_s=0", "reward.timeout_s=1")


def prompt_of(group_id: int) -> Prompt:
    sample = dataclasses.replace(SAMPLE, id=f"sample-{group_id % 5}")
    return Prompt(sample=sample, system="", user="", group_id=group_id, seed=10 * group_id)


class Writers:
    """Engine and reward: rollouts of differing length that are done in any order; every fourth group is dropped."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._version = PolicyVersion(step=0, sha256="v0")

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        version = self._version
        for _ in range(self._draw.randrange(60)):
            await asyncio.sleep(0)
        rollouts = tuple(
            Rollout(
                token_ids=tuple(range(n)),
                logprobs=tuple(-self._draw.random() for _ in range(n)),
                text="",
                finish_reason="stop",
                seed=prompt.seed + n,
                policy=version,
            )
            for n in (self._draw.randrange(1, 5), 2)
        )
        return RolloutGroup(prompt, (1, 2, prompt.group_id), rollouts, worker="w", started_s=0.0, finished_s=0.0)

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        scored = tuple(
            ScoredRollout(
                rollout=rollout,
                status=RewardStatus.SCORED,
                total=self._draw.random(),
                parts={"accuracy": 1.0},
                answer=None,
                findings=(),
                claims=(),
                explanation=(),
                evidence=(),
                snapshot="",
            )
            for rollout in group.rollouts
        )
        dropped = group.prompt.group_id % 4 == 2
        return ScoredGroup(group, scored, not dropped, "no_spread" if dropped else "", started_s=0.0, finished_s=0.0)

    async def set_policy(self, published: Published) -> Sequence[DeliveryProof]:
        self._version = published.version
        return ()


class Student:
    """Keeps the batches that it is given; its versions are named by `flavour`."""

    def __init__(self, *, step: int = 0, flavour: str = "v") -> None:
        self.step, self._flavour = step, flavour
        self.batches: list[TrainBatch] = []

    async def update(self, batch: TrainBatch) -> StepResult:
        self.batches.append(batch)
        for _ in range(30):
            await asyncio.sleep(0)
        self.step += 1
        return StepResult(step=self.step, seconds=0.0, metrics={})

    async def publish(self) -> Published:
        return Published(version=PolicyVersion(step=self.step, sha256=f"{self._flavour}{self.step}"), payload=None)


class Book:
    """Records each step as the run folder does, or only notes it."""

    def __init__(self, run_dir: Path | None = None) -> None:
        self._run_dir = run_dir
        self.taken: dict[int, list[ScoredGroup]] = {}
        self.metrics: dict[int, dict[str, float]] = {}

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics[step] = metrics

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        self.taken[step] = list(groups)
        if self._run_dir:
            write_recorded(self._run_dir, step, groups)


async def run(
    config: Config,
    parts: Parts,
    book: Book,
    *,
    prompt_at: object,
    start: Position | None = None,
    quarantine: Quarantine | None = None,
) -> list[Position]:
    """The positions at which a checkpoint was asked for."""
    trace, saved = Trace(), []

    async def save(position: Position) -> None:
        saved.append(position)

    await deliver(parts, trace=trace)
    await train(
        config,
        parts=parts,
        prompt_at=prompt_at,  # type: ignore[arg-type]
        trace=trace,
        observer=book,
        quarantine=quarantine or Quarantine(limit=0, note=lambda prompt, reason: None),
        checkpoint=save,
        stop=asyncio.Event(),
        start=start or Position(),
    )
    return saved


async def replayed(
    config: Config, run_dir: Path, *, start: Position | None = None, flavour: str = "v"
) -> tuple[Student, Book, Replay, list[Position]]:
    replay = Replay(
        run_dir,
        after=start.step if start else 0,
        upto=config.loop.steps,
        groups_per_step=config.loop.groups_per_step,
        prompt_of=prompt_of,
    )
    student, book = Student(step=start.step if start else 0, flavour=flavour), Book()
    parts = Parts(rollouts=replay, reward=replay, learner=student)
    saved = await run(config, parts, book, prompt_at=replay.prompt_at, start=start, quarantine=NothingLeftOut())
    return student, book, replay, saved


def assert_same(one: TrainBatch, other: TrainBatch) -> None:
    for field in dataclasses.fields(TrainBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("schedule", [("0", "0"), ("1", "0"), ("0.5", "4"), ("1.5", "8")])
async def test_every_update_is_made_from_the_recorded_batch_also_after_a_resume(
    tmp_path: Path, seed: int, schedule: tuple[str, str]
) -> None:
    ratio, window = schedule
    lookahead = [f"loop.window={window}"] if window != "0" else []
    live = load(None, [*SETTINGS, f"loop.async_ratio={ratio}", "loop.checkpoint_every=2", *lookahead])
    writers, student, book = Writers(seed), Student(), Book(tmp_path)
    saved = await run(live, Parts(writers, writers, student), book, prompt_at=prompt_of)

    strict = dataclasses.replace(live, loop=dataclasses.replace(live.loop, window=0))
    again, seen, replay, saved_again = await replayed(strict, tmp_path)
    assert seen.taken == book.taken  # dropped groups too, in the same order
    for one, other in zip(student.batches, again.batches, strict=True):
        assert_same(one, other)
    assert saved_again == saved  # so that a checkpoint of either stands for the same data
    assert replay.compared()[1] == []
    assert replay.compared()[0] >= STEPS - live.max_lag

    later, _, _, _ = await replayed(strict, tmp_path, start=saved[0])
    assert saved[0].step == 2
    for one, other in zip(student.batches[2:], later.batches, strict=True):
        assert_same(one, other)


async def record(tmp_path: Path) -> Config:
    config = load(None, [*SETTINGS, "loop.async_ratio=1"])
    writers = Writers(0)
    await run(config, Parts(writers, writers, Student()), Book(tmp_path), prompt_at=prompt_of)
    return config


async def test_the_first_updates_alone_can_be_replayed(tmp_path: Path) -> None:
    config = await record(tmp_path)
    short = dataclasses.replace(config, loop=dataclasses.replace(config.loop, steps=4))
    student, _, _, _ = await replayed(short, tmp_path)
    assert len(student.batches) == 4


async def test_versions_that_came_out_otherwise_are_told_and_nothing_counts_as_proven(tmp_path: Path) -> None:
    config = await record(tmp_path)
    _, book, replay, _ = await replayed(config, tmp_path, flavour="other")
    same, other = replay.compared()
    assert same == 0
    assert other == list(range(len(other)))
    assert len(other) >= STEPS - 1
    assert not any("delivery/proven" in metrics for metrics in book.metrics.values())
    assert book.metrics[STEPS]["lag/max"] == 1


async def test_a_step_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    config = await record(tmp_path)
    narrow = dataclasses.replace(config, loop=dataclasses.replace(config.loop, groups_per_step=2))
    with pytest.raises(DataError, match=r"step-000001\.parquet holds 4 groups, 3 to train on; .*groups_per_step=2 to"):
        await replayed(narrow, tmp_path)


async def test_a_recording_that_ends_early_ends_the_replay_with_an_error(tmp_path: Path) -> None:
    config = await record(tmp_path)
    recorded_file(tmp_path, STEPS).unlink()
    with pytest.raises(DataError, match=r"step-000006\.parquet cannot be read"):
        await replayed(config, tmp_path)


async def test_an_image_that_is_gone_ends_the_replay_at_once_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = await record(tmp_path)

    async def blind(student: Student, batch: TrainBatch) -> StepResult:
        raise ImagesError({1: "image s.png does not exist"})

    monkeypatch.setattr(Student, "update", blind)
    with pytest.raises(
        DataError, match=r"sample sample-\d, which was recorded, .*image s\.png does not exist; a replay"
    ):
        await replayed(config, tmp_path)
