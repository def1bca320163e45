"""The worker scores off its event loop, within its time limit, and counts what it could not score."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from fundus_ray.config import Config
from fundus_ray.errors import DataError
from fundus_ray.knowledge.store import BuiltStore, build_store
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.types import ImageRef, Modality, PolicyVersion, Prompt, RewardStatus, Rollout, RolloutGroup, Sample

CHAIN = "<think>Findings: none. Conclusion: normal.</think><answer>A</answer>"


def make_group(*texts: str) -> RolloutGroup:
    sample = Sample(
        id="s1",
        image=ImageRef(path="x.png", sha256="0", width_px=112, height_px=112),
        modality=Modality.CFP,
        question="Which?",
        options=("normal", "glaucoma"),
        answer=("normal",),
        task="diagnosis",
        source="test",
        split="train",
        patient_id="p1",
    )
    rollouts = tuple(
        Rollout((1,), (-1.0,), text, "stop", seed=i, policy=PolicyVersion(0, "0")) for i, text in enumerate(texts)
    )
    return RolloutGroup(Prompt(sample, "", "", group_id=0, seed=0), (1,), rollouts, "w0", 0.0, 0.0)


async def started(config: Config, folder: Path) -> RewardWorker:
    store = await build_store(config.knowledge, folder=folder)
    worker = RewardWorker(config, BuiltStore(folder=folder, snapshot=store.snapshot))
    await worker.start()
    return worker


async def test_groups_are_scored_concurrently_and_counted(tmp_path: Path) -> None:
    worker = await started(Config(), tmp_path)
    scored = await asyncio.gather(*(worker.score(make_group(CHAIN, "?")) for _ in range(8)))
    assert all(s.trainable for s in scored)
    # Accuracy, format and consistency are 1; grounding does not apply.
    assert [s.total for s in scored[0].scored] == [1.0, 0.0]
    assert [s.status for s in scored[0].scored] == [RewardStatus.SCORED, RewardStatus.UNPARSEABLE]
    assert scored[0].finished_s >= scored[0].started_s > 0


async def test_running_out_of_time_is_unscorable_and_counted(tmp_path: Path) -> None:
    config = Config()
    config.reward = dataclasses.replace(config.reward, timeout_s=1e-9, hold_s=0.0)
    worker = await started(config, tmp_path)
    scored = await worker.score(make_group(*[CHAIN * 100] * 20))
    assert (scored.trainable, scored.drop_reason) == (False, "unscorable")
    assert scored.scored[0].status is RewardStatus.UNSCORABLE
    assert scored.scored[0].explanation == ("not scored: not done within reward.hold_s + reward.timeout_s = 1e-09 s",)


async def test_evidence_follows_top_k_and_weights_the_configuration(tmp_path: Path) -> None:
    config = Config()
    config.knowledge.top_k = 3
    config.reward.consistency = 0.0
    worker = await started(config, tmp_path)
    scored = await worker.score(make_group(CHAIN.replace("none", "microaneurysms")))
    assert len(scored.scored[0].evidence) == 3
    assert scored.scored[0].parts["consistency"] == 0.0
    assert scored.scored[0].total == 1.0


async def test_a_folder_without_an_index_is_named_at_the_start(tmp_path: Path) -> None:
    worker = RewardWorker(Config(), BuiltStore(folder=tmp_path, snapshot="feedfacefeedface"))
    with pytest.raises(DataError, match="feedfacefeedface: no knowledge index here"):
        await worker.start()
