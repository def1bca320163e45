"""The loop with parts that live in this process: protocols implemented in a few lines, no engine and no network."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from plain_sample import SAMPLE

from fundus_ray.config import Config, load
from fundus_ray.errors import (
    DataError,
    DeliveryError,
    ImagesError,
    SampleError,
    StalenessError,
    StalledError,
    WorkerDiedError,
)
from fundus_ray.loop import Parts, Position, Published, Totals, deliver, train
from fundus_ray.obs.trace import Span, Trace
from fundus_ray.quarantine import Quarantine
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    ScoredGroup,
    ScoredRollout,
    ScoringCost,
    StepResult,
    TrainBatch,
)


def prompt_at(group_id: int) -> Prompt:
    image = dataclasses.replace(SAMPLE.image, path=f"{group_id}.png")
    sample = dataclasses.replace(SAMPLE, id=f"sample-{group_id}", image=image)
    return Prompt(sample=sample, system="", user="", group_id=group_id, seed=group_id)


class Engines:
    """Two rollouts a prompt, written in no time by the newest version."""

    def __init__(self) -> None:
        self.version = 0
        self.seen: list[int] = []
        self.crash_at: int | None = None
        self.refuses: set[str] = set()  # ids of samples
        self.lose_delivery_of: int | None = None
        self.ahead = 0  # versions that this engine wrongly claims to be newer

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        self.seen.append(prompt.group_id)
        version = PolicyVersion(step=self.version + self.ahead, sha256="0")
        await asyncio.sleep(0)
        if prompt.sample.id in self.refuses:
            raise SampleError(f"sample {prompt.sample.id}: image s.png is damaged")
        if prompt.group_id == self.crash_at:
            raise WorkerDiedError("rollout-0 died while writing")
        rollouts = tuple(
            Rollout(token_ids=(7,) * n, logprobs=(-0.5,) * n, text="", finish_reason="stop", seed=n, policy=version)
            for n in (2, 4)
        )
        return RolloutGroup(
            prompt=prompt, prompt_token_ids=(1, 2), rollouts=rollouts, worker="w", started_s=0.0, finished_s=0.0
        )

    async def set_policy(self, published: Published) -> Sequence[DeliveryProof]:
        await asyncio.sleep(0)
        if published.version.step == self.lose_delivery_of:
            raise DeliveryError("engine w holds version 0, expected 1")
        self.version = published.version.step
        proof = DeliveryProof(
            worker="w",
            version=published.version,
            sha256="0",
            listed=True,
            probe_error=1e-6,
            probe_shift=None,
            seconds=0.25,
        )
        return [proof, dataclasses.replace(proof, worker="x", probe_error=3e-6, probe_shift=None, seconds=0.125)]


class Judge:
    """First rollout 1, second 0; every group named in `drop` is dropped, and from `down_from` on as in an outage."""

    def __init__(self, *, drop: Callable[[int], bool] = lambda _: False) -> None:
        self.drop = drop
        self.down_from: int | None = None
        self.outage = ScoringCost(held_s=1800.0, outage="drop")

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        await asyncio.sleep(0)
        scored = tuple(
            ScoredRollout(
                rollout=rollout,
                status=RewardStatus.SCORED,
                total=total,
                parts={"accuracy": total, "grounding": None},
                answer=None,
                findings=("drusen",) * int(total),
                claims=(),
                explanation=(),
                evidence=(),
                snapshot="",
            )
            for rollout, total in zip(group.rollouts, (1.0, 0.0), strict=True)
        )
        dropped = self.drop(group.prompt.group_id)
        if self.down_from is not None and group.prompt.group_id >= self.down_from:
            lost = [dataclasses.replace(s, status=RewardStatus.UNSCORABLE, total=0.0) for s in scored]
            lost = [dataclasses.replace(s, explanation=("not scored: http://h:9200 is gone",)) for s in lost]
            return ScoredGroup(group, tuple(lost), False, "unscorable", 0.0, finished_s=NOON, cost=self.outage)
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=not dropped,
            drop_reason="no_spread" if dropped else "",
            started_s=0.0,
            finished_s=0.0,
        )


class Student:
    """Counts updates; gives the engines' tasks time to run meanwhile."""

    def __init__(self, *, step: int = 0) -> None:
        self.step = step
        self.batches: list[TrainBatch] = []
        self.gone: set[str] = set()  # paths of images

    async def update(self, batch: TrainBatch) -> StepResult:
        if gone := {i: f"image {ref.path} is gone" for i, ref in enumerate(batch.images) if ref.path in self.gone}:
            raise ImagesError(gone)
        self.batches.append(batch)
        for _ in range(20):
            await asyncio.sleep(0)
        self.step += 1
        return StepResult(step=self.step, seconds=0.0, metrics={"loss": -0.5, "tokens_per_s": -1.0})

    async def publish(self) -> Published:
        return Published(version=PolicyVersion(step=self.step, sha256="0"), payload=None)


class Book:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.metrics: dict[int, dict[str, float]] = {}
        self.groups: dict[int, list[int]] = {}

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics[step] = metrics

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        self.groups[step] = [g.group.prompt.group_id for g in groups]


NOON = time.mktime((2026, 3, 1, 12, 0, 0, 0, 0, -1))
QUICK = ("reward.hold_s=0", "reward.timeout_s=1")  # so that loop.stall_s may be short


class Run:
    """One call of `train` with everything at hand."""

    def __init__(self, *overrides: str, drop: Callable[[int], bool] = lambda _: False, step: int = 0) -> None:
        self.config: Config = load(
            None, ["loop.groups_per_step=2", "loop.steps=4", "loop.stall_s=20", *QUICK, *overrides]
        )
        self.engines, self.student, self.book, self.trace = Engines(), Student(step=step), Book(), Trace()
        self.engines.version = step
        self.judge = Judge(drop=drop)
        self.parts = Parts(rollouts=self.engines, reward=self.judge, learner=self.student)
        self.saved: list[Position] = []
        self.save: Callable[[Position], Awaitable[None]] = self._note
        self.stop = asyncio.Event()
        self.left_out: list[tuple[str, str]] = []
        self.quarantine = Quarantine(
            limit=self.config.data.max_quarantined, note=lambda p, reason: self.left_out.append((p.sample.id, reason))
        )
        self.prompt_at = prompt_at

    async def _note(self, position: Position) -> None:
        self.saved.append(position)

    async def train(self, start: Position | None = None) -> Totals:
        return await train(
            self.config,
            parts=self.parts,
            prompt_at=self.prompt_at,
            trace=self.trace,
            observer=self.book,
            quarantine=self.quarantine,
            checkpoint=self.save,
            stop=self.stop,
            start=start or Position(),
        )


async def test_ratio_zero_trains_every_group_on_the_version_that_wrote_it() -> None:
    run = Run("loop.async_ratio=0")
    totals = await run.train()
    assert [batch.policy_steps.tolist() for batch in run.student.batches] == [[s] * 4 for s in range(4)]
    assert run.book.groups == {1: [0, 1], 2: [2, 3], 3: [4, 5], 4: [6, 7]}
    assert totals == Totals(position=Position(step=4, group_id=8), lag_max=0, publishes=4, deliveries_proven=8)


async def test_ratio_one_trains_on_groups_one_version_old_and_starts_none_in_vain() -> None:
    run = Run("loop.async_ratio=1")
    totals = await run.train()
    # Four slots: groups 0..3 are written by version 0; from then on each release of two starts two under the new one.
    assert [batch.policy_steps.tolist() for batch in run.student.batches] == [[0] * 4, [0] * 4, [1] * 4, [2] * 4]
    assert totals.lag_max == 1
    assert sorted(run.engines.seen) == list(range(8))
    hist = [{k: v for k, v in m.items() if k.startswith("lag/hist")} for m in run.book.metrics.values()]
    assert hist == [{"lag/hist_0": 4.0}, {"lag/hist_1": 4.0}, {"lag/hist_1": 4.0}, {"lag/hist_1": 4.0}]


async def test_step_logs_the_numbers_of_its_groups() -> None:
    run = Run("loop.async_ratio=0", "loop.steps=1")
    await run.train()
    metrics = run.book.metrics[1]
    expected = {
        "reward/total": 0.5,
        "reward/accuracy": 0.5,
        "reward/finding_count": 0.5,
        "health/no_signal_share": 0.0,
        "completion/tokens_mean": 3.0,
        "completion/cut_share": 0.0,
        "lag/mean": 0.0,
        "lag/max": 0.0,
        "lag/hist_0": 4.0,
        "off_policy_share": 0.0,
        "async/ratio": 0.0,
        "delivery/probe_error": 3e-6,
        "delivery/seconds": 0.25,
        "delivery/proven": 2.0,
        "loss": -0.5,
    }
    assert {k: metrics[k] for k in expected} == pytest.approx(expected)
    assert "reward/grounding" not in metrics  # applied to no rollout
    times = {"step", "generate", "score", "update", "publish", "deliver", "wait_group"}
    assert {k.removeprefix("time/") for k in metrics if k.startswith("time/")} == times
    assert {"idle/learner", "idle/generator", "async/ceiling"} <= metrics.keys()
    assert metrics["tokens_per_s"] == pytest.approx(12 / metrics["time/step"])


async def test_a_step_begins_where_the_one_before_ended_but_for_a_checkpoint() -> None:
    run = Run("loop.async_ratio=0", "loop.steps=3", "loop.checkpoint_every=2")
    clock = [100.0]
    run.trace = Trace(clock=lambda: clock[0])
    write_down = run.book.log_scored

    def slowly(step: int, groups: Sequence[ScoredGroup]) -> None:
        clock[0] += 5.0
        if step == 1:
            run.trace.add(Span("restart", clock[0] - 4.0, clock[0] - 1.0, {"role": "engine"}))
        write_down(step, groups)

    async def save(position: Position) -> None:
        clock[0] += 1000.0
        run.trace.add(Span("restart", clock[0] - 4.0, clock[0] - 1.0, {"role": "engine"}))

    run.book.log_scored = slowly  # type: ignore[method-assign]
    run.save = save
    await run.train()
    steps = [run.book.metrics[step] for step in (1, 2, 3)]
    assert [m["time/step"] for m in steps] == pytest.approx([0.0, 5.0, 0.0], abs=1e-5)
    assert [m["engine_restarts"] for m in steps] == [0.0, 1.0, 1.0]  # no restart is lost between two steps


async def test_dropped_groups_are_counted_replaced_and_logged() -> None:
    run = Run("loop.async_ratio=0.5", drop=lambda group_id: group_id % 3 == 1)
    totals = await run.train()
    assert run.book.groups == {1: [0, 1, 2], 2: [3, 4, 5], 3: [6, 7, 8], 4: [9, 10, 11]}
    assert [m["dropped/no_spread"] for m in run.book.metrics.values()] == [1.0] * 4
    assert totals.dropped == {"no_spread": 4}
    assert totals.position == Position(step=4, group_id=12)
    assert all(len(batch.seq_lens) == 4 for batch in run.student.batches)


async def test_only_dropped_groups_end_the_run_with_their_reasons() -> None:
    run = Run("loop.stall_s=2", drop=lambda _: True)
    with pytest.raises(StalledError, match=r"no trainable group for 2 s .* took 0 of 2; dropped: \d+ no_spread$"):
        await run.train()
    assert run.saved == []


async def test_an_outage_without_end_ends_the_run_with_its_beginning_and_a_checkpoint_of_what_was_learned() -> None:
    run = Run("loop.stall_s=2", "loop.async_ratio=0", "loop.checkpoint_every=0")
    run.judge.down_from = 5  # the second group of the third step
    with pytest.raises(
        StalledError,
        match=r"took 1 of 2; dropped: (\d+) unscorable; the last was not scored: http://h:9200 is gone; search or "
        r"checker is down since 2026-03-01 11:30:00, \1 groups were dropped for it: start it again .* loop\.stall_s",
    ):
        await run.train()
    assert run.saved == [Position(step=2, group_id=4)]  # the groups of the outage come again
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_run_that_stalls_right_after_a_checkpoint_does_not_save_it_twice() -> None:
    run = Run("loop.stall_s=2", "loop.async_ratio=0", "loop.checkpoint_every=2")
    run.judge.down_from = 4
    with pytest.raises(StalledError, match="took 0 of 2"):
        await run.train()
    assert run.saved == [Position(step=2, group_id=4)]


@pytest.mark.parametrize("ratio", [0, 1])
async def test_crash_in_generate_surfaces_and_nothing_is_left_running(ratio: int) -> None:
    run = Run(f"loop.async_ratio={ratio}")
    run.engines.crash_at = 5
    with pytest.raises(WorkerDiedError, match="died while writing"):
        await run.train()
    assert len(run.book.metrics) < 4
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_prompt_that_cannot_be_made_surfaces() -> None:
    def broken(group_id: int) -> Prompt:
        if group_id == 3:
            raise DataError("train.jsonl: row 3 has no image")
        return prompt_at(group_id)

    run = Run()
    run.prompt_at = broken
    with pytest.raises(DataError, match="row 3"):
        await run.train()


async def test_lost_delivery_ends_the_run_before_any_slot_is_freed() -> None:
    run = Run("loop.async_ratio=0")
    run.engines.lose_delivery_of = 1
    with pytest.raises(DeliveryError, match="expected 1"):
        await run.train()
    assert run.engines.seen == [0, 1]
    assert run.book.metrics == {}


async def test_group_from_a_version_that_was_never_published_is_refused() -> None:
    run = Run()
    run.engines.ahead = 1
    with pytest.raises(StalenessError, match="lag -1"):
        await run.train()


async def test_checkpoints_come_every_n_steps_and_at_the_end() -> None:
    run = Run("loop.checkpoint_every=3", "loop.steps=7")
    await run.train()
    assert run.saved == [Position(3, 6), Position(6, 12), Position(7, 14)]


async def test_last_step_is_not_saved_twice() -> None:
    run = Run("loop.checkpoint_every=2")
    await run.train()
    assert run.saved == [Position(2, 4), Position(4, 8)]


async def test_stop_finishes_the_step_and_saves_it() -> None:
    run = Run("loop.checkpoint_every=0", "loop.steps=50")
    update = run.student.update

    async def update_then_stop(batch: TrainBatch) -> StepResult:
        if batch.policy_step == 2:
            run.stop.set()
        return await update(batch)

    run.student.update = update_then_stop  # type: ignore[method-assign]
    totals = await run.train()
    assert totals.position == Position(step=3, group_id=6)
    assert run.saved == [Position(step=3, group_id=6)]
    assert run.engines.version == 3
    assert list(run.book.metrics) == [1, 2, 3]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_resumed_run_continues_the_prompt_order() -> None:
    whole = Run("loop.steps=6", drop=lambda group_id: group_id == 4)
    await whole.train()
    first = Run("loop.steps=3", drop=lambda group_id: group_id == 4)
    await first.train()
    assert first.saved[-1] == Position(step=3, group_id=7)
    second = Run("loop.steps=6", drop=lambda group_id: group_id == 4, step=3)
    await second.train(first.saved[-1])
    assert {**first.book.groups, **second.book.groups} == whole.book.groups
    assert min(second.engines.seen) == 7


async def test_with_a_window_a_slow_group_is_passed_and_a_resumed_run_does_not_repeat_those_that_passed_it() -> None:
    # Three slots, lag <= 1. Group 0 is written only once the first update is done.
    first = Run("loop.async_ratio=0.5", "loop.window=2", "loop.steps=3")
    updated = asyncio.Event()
    update, generate = first.student.update, first.engines.generate

    async def update_and_stop(batch: TrainBatch) -> StepResult:
        updated.set()
        first.stop.set()
        return await update(batch)

    async def generate_slowly(prompt: Prompt) -> RolloutGroup:
        group = await generate(prompt)
        if prompt.group_id == 0:
            await updated.wait()
        return group

    first.student.update = update_and_stop  # type: ignore[method-assign]
    first.engines.generate = generate_slowly  # type: ignore[method-assign]
    assert (await first.train()).position == Position(step=1, group_id=0, passed=(1, 2))
    assert first.book.groups == {1: [1, 2]}
    second = Run("loop.async_ratio=0.5", "loop.window=2", "loop.steps=3", step=1)
    assert (await second.train(first.saved[-1])).position == Position(step=3, group_id=6)
    assert second.book.groups == {2: [0, 3], 3: [4, 5]}


async def test_a_sample_that_an_engine_refuses_is_left_out_and_asked_for_no_more() -> None:
    run = Run()
    run.engines.refuses = {"sample-1"}
    # An epoch of three samples.
    run.prompt_at = lambda group_id: dataclasses.replace(prompt_at(group_id % 3), group_id=group_id)
    totals = await run.train()
    assert totals.dropped == {"quarantined": 4}  # groups 1, 4, 7 and 10
    assert totals.position == Position(step=4, group_id=12)
    assert [m["dropped/quarantined"] for m in run.book.metrics.values()] == [1.0] * 4
    assert {sample for sample, _ in run.left_out} == {"sample-1"}
    assert {reason for _, reason in run.left_out} == {"sample sample-1: image s.png is damaged"}
    assert sum(group_id % 3 == 1 for group_id in run.engines.seen) == 1


async def test_too_many_samples_that_cannot_be_used_end_the_run_after_a_checkpoint_of_what_was_learned() -> None:
    run = Run("data.max_quarantined=1", "loop.async_ratio=0")
    run.engines.refuses = {"sample-3", "sample-4"}
    with pytest.raises(DataError, match=r"2 samples cannot be used, more than data\.max_quarantined=1; .*image s\.png"):
        await run.train()
    assert run.saved == [Position(step=1, group_id=2)]


@pytest.mark.parametrize("ratio", [0, 1])
async def test_a_group_whose_image_the_learner_cannot_read_is_left_out_and_the_next_one_trained_in_its_place(
    ratio: int,
) -> None:
    run = Run(f"loop.async_ratio={ratio}")
    run.student.gone = {"1.png", "2.png", "5.png"}
    totals = await run.train()
    assert run.book.groups == {1: [0, 1, 2, 3], 2: [4, 5, 6], 3: [7, 8], 4: [9, 10]}
    assert [[ref.path for ref in batch.images] for batch in run.student.batches] == [
        ["0.png", "3.png"],
        ["4.png", "6.png"],
        ["7.png", "8.png"],
        ["9.png", "10.png"],
    ]
    assert run.left_out == [(f"sample-{i}", f"image {i}.png is gone") for i in (1, 2, 5)]
    assert totals.dropped == {"quarantined": 3}
    assert totals.lag_max <= ratio
    assert totals.position == Position(step=4, group_id=11)


def test_position_moves_on_past_all_that_is_done() -> None:
    at = Position(step=4, group_id=10).after([12, 10, 15])
    assert at == Position(step=5, group_id=11, passed=(12, 15))
    assert at.after([11, 13]) == Position(step=6, group_id=14, passed=(15,))


async def test_run_that_is_done_does_nothing() -> None:
    run = Run()
    assert await run.train(Position(step=4, group_id=8)) == Totals(position=Position(step=4, group_id=8))
    assert run.engines.seen == []
    assert run.saved == []


async def test_deliver_brings_the_learners_version_to_the_engines() -> None:
    run = Run(step=7)
    run.engines.version = 0
    proofs = await deliver(run.parts, trace=run.trace)
    assert run.engines.version == 7
    assert [proof.worker for proof in proofs] == ["w", "x"]
    assert [span.name for span in run.trace.window(start_s=0.0, end_s=1e12)] == ["publish", "deliver"]
