"""The learner: a step moves the adapter alone and the right way; a checkpoint brings everything back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fundus_ray.config import Config, load
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.policy.load import expand_image_token, load_processor, prompt_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Sample, TrainBatch


def batch_of(tiny_policy: Path, samples: tuple[Sample, ...], *, learner: LearnerWorker | None = None) -> TrainBatch:
    """Two groups of two: in each, the first completion was good and the second bad."""
    processor = load_processor(tiny_policy)
    rows, prompts = [], []
    for group, sample in enumerate(samples[:2]):
        ids = processor.tokenizer(prompt_text(processor, build_prompt(sample, group_id=0, seed=0)))["input_ids"]
        prompt = expand_image_token(ids, image_token_id=processor.image_token_id, count=16)
        for completion in ([10 + group, 20, 30], [40, 50 + group]):
            rows.append([*prompt, *completion])
            prompts.append(len(prompt))
    token_ids = np.zeros((4, max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    batch = TrainBatch(
        token_ids=token_ids,
        prompt_lens=np.array(prompts),
        seq_lens=np.array([len(r) for r in rows]),
        behaviour_logprobs=np.zeros(token_ids.shape, dtype=np.float32),
        advantages=np.array([1, -1, 1, -1], dtype=np.float32),
        policy_steps=np.zeros(4, dtype=np.int64),
        image_index=np.array([0, 0, 1, 1]),
        images=tuple(s.image for s in samples[:2]),
        policy_step=0,
    )
    if learner is None:
        return batch
    behaviour = learner._logprobs(batch).logprobs.detach().numpy()  # as a perfect engine would have reported them
    return TrainBatch(**{f: getattr(batch, f) for f in batch.__slots__} | {"behaviour_logprobs": behaviour})


@pytest.fixture
def config() -> Config:
    return load(None, ["policy.lora_rank=4", "learner.learning_rate=0.01", "learner.micro_batch_rollouts=2"])


def scores(learner: LearnerWorker, batch: TrainBatch) -> list[float]:
    with torch.no_grad():
        return [float(v) for v in learner._logprobs(batch).logprobs.sum(1)]


def test_a_step_makes_good_completions_likelier_and_moves_the_adapter_alone(
    tiny_policy: Path, samples: tuple[Sample, ...], config: Config
) -> None:
    learner = LearnerWorker(config, str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples, learner=learner)
    frozen = {n: p.clone() for n, p in learner._policy.model.named_parameters() if "lora_" not in n}
    before = scores(learner, batch)
    result = learner.update(batch)
    change = [b - a for a, b in zip(before, scores(learner, batch), strict=True)]
    assert change[0] > 0 > change[1]
    assert change[2] > 0 > change[3]
    assert result.step == 1
    assert result.metrics["mismatch/logprob_abs"] == pytest.approx(0, abs=1e-6)
    assert result.metrics["mismatch/ess"] == pytest.approx(1, abs=1e-5)
    # Fresh policy, ratios 1: loss = -(3*1 - 2*1 + 3*1 - 2*1) / 10 tokens.
    assert result.metrics["loss"] == pytest.approx(-0.2, abs=1e-5)
    for name, value in frozen.items():
        assert torch.equal(dict(learner._policy.model.named_parameters())[name], value), name


def test_two_updates_a_batch_clip_against_the_policy_before_the_first(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    config = load(None, ["policy.lora_rank=4", "learner.learning_rate=0.3", "learner.updates_per_batch=2"])
    learner = LearnerWorker(config, str(tiny_policy), "")
    result = learner.update(batch_of(tiny_policy, samples, learner=learner))
    assert result.metrics["mismatch/logprob_abs"] == pytest.approx(0, abs=1e-6)  # old stays what it was at the start
    assert result.metrics["clip_share"] > 0  # so large a first update leaves the second one beyond the clip


def test_a_checkpoint_brings_back_adapter_optimizer_and_step(
    tiny_policy: Path, samples: tuple[Sample, ...], config: Config, tmp_path: Path
) -> None:
    first = LearnerWorker(config, str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples, learner=first)
    first.update(batch)
    first.save(str(tmp_path))
    second = LearnerWorker(config, str(tiny_policy), "")
    assert second.publish()[0] != first.publish()[0]
    second.load(str(tmp_path))
    assert second.publish()[0] == first.publish()[0]
    first.update(batch)
    second.update(batch)  # differs unless the optimizer's moments came back too
    torch.testing.assert_close(scores(second, batch), scores(first, batch))
    assert second.publish()[0].sha256 == first.publish()[0].sha256
