"""`evaluate` is given two callables; these are written here, in the shape of the engines' and the rubric's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.config import Config
from fundus_ray.errors import WorkerDiedError
from fundus_ray.evaluate.run import evaluate
from fundus_ray.knowledge.store import BuiltStore, build_store
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.types import (
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    Sampling,
    ScoredGroup,
    ScoredRollout,
)

SAMPLING = Sampling(n=8, temperature=1.0, max_tokens=64)
OPTIONS = ("normal", "glaucoma")


def sample(name: str, *, answer: str = "glaucoma", findings: tuple[str, ...] | None = ("enlarged_cup",)) -> Sample:
    return Sample(
        id=name,
        image=ImageRef(path=f"{name}.png", sha256="0", width_px=112, height_px=112),
        modality=Modality.CFP,
        question="What is it?",
        options=OPTIONS,
        answer=(answer,),
        task="diagnosis",
        source="t",
        split="eval",
        patient_id=name,
        findings=findings,
    )


async def generate(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
    """Says glaucoma of everything."""
    assert (sampling.n, sampling.temperature, sampling.max_tokens) == (1, 0.0, 64)
    rollout = Rollout(
        token_ids=(1,),
        logprobs=(-0.1,),
        text="B",
        finish_reason="stop",
        seed=prompt.seed,
        policy=PolicyVersion(step=3, sha256="abc"),
    )
    return RolloutGroup(
        prompt=prompt, prompt_token_ids=(1,), rollouts=(rollout,), worker="w", started_s=0, finished_s=1
    )


def scored(group: RolloutGroup, *, status: RewardStatus = RewardStatus.SCORED, form: float = 1.0) -> ScoredGroup:
    readable = status is RewardStatus.SCORED
    item = ScoredRollout(
        rollout=group.rollouts[0],
        status=status,
        total=0.5 if readable else 0.0,
        parts={"format": form if readable else 0.0},
        answer=("glaucoma",) if readable else None,
        findings=("enlarged_cup",) if readable else (),
        claims=(),
        explanation=(),
        evidence=(),
        snapshot="s",
        recited=("enlarged_cup",) if "b" in group.prompt.sample.id else (),
    )
    return ScoredGroup(group=group, scored=(item,), trainable=True, drop_reason="", started_s=1, finished_s=2)


async def score(group: RolloutGroup) -> ScoredGroup:
    return scored(group)


async def test_every_sample_is_read_once_and_rows_keep_the_samples_order() -> None:
    samples = [sample("a"), sample("b", answer="normal", findings=()), sample("c")]

    async def slow_first(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        for _ in range(5 if prompt.sample.id == "a" else 0):
            await asyncio.sleep(0)
        return await generate(prompt, sampling)

    result = await evaluate(slow_first, score, samples, sampling=SAMPLING, concurrency=3, timeout_s=30)
    assert [(r.sample, r.correct, r.policy_step) for r in result.rows] == [
        ("a", True, 3),
        ("b", False, 3),
        ("c", True, 3),
    ]
    assert result.accuracy == pytest.approx(2 / 3)
    # b has no finding, but one is asserted: tp 2, fp 1
    assert result.finding_precision == pytest.approx(2 / 3)
    assert [r.recited for r in result.rows] == [(), ("enlarged_cup",), ()]
    assert (result.n, dict(result.failed)) == (3, {})


async def test_an_unparseable_chain_is_wrong_and_an_unscorable_one_is_counted_apart() -> None:
    states = {"a": RewardStatus.SCORED, "b": RewardStatus.UNPARSEABLE, "c": RewardStatus.UNSCORABLE}

    async def by_sample(group: RolloutGroup) -> ScoredGroup:
        return scored(group, status=states[group.prompt.sample.id])

    samples = [sample(name) for name in states]
    result = await evaluate(generate, by_sample, samples, sampling=SAMPLING, concurrency=1, timeout_s=30)
    assert (result.n, result.accuracy, result.format_rate) == (2, 0.5, 0.5)
    assert dict(result.failed) == {"unscorable": 1}


async def test_what_takes_too_long_is_counted_and_not_wrong() -> None:
    async def stuck(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        if prompt.sample.id == "a":
            await asyncio.Event().wait()
        return await generate(prompt, sampling)

    async def stuck_score(group: RolloutGroup) -> ScoredGroup:
        if group.prompt.sample.id == "b":
            await asyncio.Event().wait()
        return scored(group)

    samples = [sample("a"), sample("b"), sample("c")]
    result = await evaluate(stuck, stuck_score, samples, sampling=SAMPLING, concurrency=3, timeout_s=0.05)
    assert (result.n, result.accuracy) == (1, 1.0)
    assert dict(result.failed) == {"generate_timeout": 1, "score_timeout": 1}


async def test_no_more_samples_are_under_way_than_allowed() -> None:
    under_way: set[str] = set()
    most = 0

    async def counting(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        nonlocal most
        under_way.add(prompt.sample.id)
        most = max(most, len(under_way))
        for _ in range(3):
            await asyncio.sleep(0)
        group = await generate(prompt, sampling)
        under_way.remove(prompt.sample.id)
        return group

    samples = [sample(str(i)) for i in range(20)]
    await evaluate(counting, score, samples, sampling=SAMPLING, concurrency=4, timeout_s=30)
    assert most == 4


async def test_a_dead_worker_ends_the_evaluation_and_what_is_under_way() -> None:
    cancelled = []

    async def dying(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        if prompt.sample.id == "1":
            raise WorkerDiedError("rollout-0 died")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(prompt.sample.id)
        raise AssertionError

    samples = [sample(str(i)) for i in range(6)]
    with pytest.raises(WorkerDiedError, match="rollout-0 died"):
        await evaluate(dying, score, samples, sampling=SAMPLING, concurrency=3, timeout_s=30)
    assert "0" in cancelled
    assert "5" not in cancelled  # never started


async def test_only_a_fully_formed_chain_counts_as_well_formed() -> None:
    async def half_formed(group: RolloutGroup) -> ScoredGroup:
        return scored(group, form=0.5)

    result = await evaluate(generate, half_formed, [sample("a")], sampling=SAMPLING, concurrency=1, timeout_s=30)
    assert (result.format_rate, result.accuracy) == (0.0, 1.0)


async def test_the_real_reward_worker_scores_an_evaluation(tmp_path: Path) -> None:
    config = Config()
    store = await build_store(config.knowledge, folder=tmp_path)
    worker = RewardWorker(config, BuiltStore(folder=tmp_path, snapshot=store.snapshot))
    await worker.start()
    texts = {
        "a": "<think>Findings: enlarged optic cup. Conclusion: glaucoma.</think><answer>B</answer>",
        "b": "<think>Findings: none. Conclusion: normal.</think><answer>A</answer>",
        "c": "glaucoma, I think",
    }

    async def written(prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        group = await generate(prompt, sampling)
        return replace(group, rollouts=(replace(group.rollouts[0], text=texts[prompt.sample.id]),))

    samples = [sample(name) for name in texts]
    result = await evaluate(written, worker.score, samples, sampling=SAMPLING, concurrency=2, timeout_s=60)
    assert [(r.correct, r.well_formed, r.status) for r in result.rows] == [
        (True, True, "scored"),
        (False, True, "scored"),
        (False, False, "unparseable"),
    ]
    assert result.finding_precision == 1.0
    assert result.finding_recall == pytest.approx(1 / 3)


async def test_no_sample_at_all_gives_an_empty_result() -> None:
    result = await evaluate(generate, score, [], sampling=SAMPLING, concurrency=1, timeout_s=30)
    assert (result.n, result.accuracy) == (0, None)
