"""The memory estimate against PyTorch's own account of the tiny learner's allocations, and against sums by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import PeakBytes
from qwen_configs import QWEN_3B, QWEN_7B

from fundus_ray.config import Config, load
from fundus_ray.doctor import estimate
from fundus_ray.doctor.shapes import read_shape, shape_of
from fundus_ray.types import Sample, TrainBatch

SETTINGS = ["rollout.group_size=4", "rollout.max_tokens=64", "rollout.max_model_len=160"]
ESTIMATED = ("layers' inputs", "one layer again", "kept for gradients", "scores, gradients")


def longest_batch(folder: Path, samples: tuple[Sample, ...], config: Config) -> TrainBatch:
    """A step of the longest groups that the settings allow."""
    from fundus_ray.policy.load import expand_image_token, load_processor, prompt_text
    from fundus_ray.reasoning.prompt import build_prompt

    processor, rng = load_processor(folder), np.random.default_rng(0)
    groups, prompt_len = config.loop.groups_per_step, estimate.longest_prompt(config)
    rows = groups * config.rollout.group_size
    ids = rng.integers(10, 200, (rows, config.rollout.max_model_len))
    for group in range(groups):
        text = prompt_text(processor, build_prompt(samples[group], group_id=group, seed=0))
        prompt = processor.tokenizer(text)["input_ids"]
        prompt = expand_image_token(prompt, image_token_id=processor.image_token_id, count=16)[:prompt_len]
        ids[group * config.rollout.group_size : (group + 1) * config.rollout.group_size, : len(prompt)] = prompt
    return TrainBatch(
        token_ids=ids,
        prompt_lens=np.full(rows, prompt_len),
        seq_lens=np.full(rows, config.rollout.max_model_len),
        behaviour_logprobs=np.full(ids.shape, -3.0, dtype=np.float32),
        rewards=rng.normal(size=rows),
        policy_steps=np.zeros(rows, dtype=np.int64),
        image_index=np.repeat(np.arange(groups), config.rollout.group_size),
        images=tuple(sample.image for sample in samples[:groups]),
        policy_step=0,
    )


@pytest.mark.parametrize(
    "settings",
    [
        ["loop.groups_per_step=3"],
        ["loop.groups_per_step=3", "learner.checkpointing=true"],
        ["loop.groups_per_step=1", "policy.dtype=bfloat16"],  # slow on a CPU
    ],
    ids=["float32", "checkpointing", "bfloat16"],
)
def test_learner_takes_what_was_estimated(
    settings: list[str], tiny_policy: Path, samples: tuple[Sample, ...], peak_bytes: PeakBytes
) -> None:
    from fundus_ray.learner.worker import LearnerWorker

    config = load(None, [*SETTINGS, *settings])
    expected, batch = estimate.learner(read_shape(tiny_policy), config), longest_batch(tiny_policy, samples, config)
    learner = LearnerWorker(config, str(tiny_policy), "")
    learner.update(batch)  # AdamW's states are made, images encoded: what follows is the update alone
    measured = peak_bytes(lambda: learner.update(batch))
    work = sum(line.bytes for line in expected.lines if line.what in ESTIMATED)
    gradients = expected.of("adapter, AdamW") / 4
    print(f"{settings}: measured {measured / 1e6:.1f} MB, estimated {(work + gradients) / 1e6:.1f} MB")
    assert 0.9 <= measured / (work + gradients) <= 1.1


def real(*settings: str) -> Config:
    """A run on GPUs, in bfloat16."""
    return load(None, ["policy.dtype=bfloat16", "rollout.gpus=1", "learner.gpus=1", *settings])


def test_weights_and_cache_of_an_engine_by_hand() -> None:
    shape, config = shape_of(QWEN_3B), real()
    assert estimate.engine_weights(shape, config, ranks=1) == 2 * 3_754_622_976
    # 36 layers x (key + value) x 2 heads x 128 numbers x 2 bytes; at 7B 28 layers of 4 heads.
    assert estimate.kv_token_bytes(shape, config) == 36_864
    assert estimate.kv_token_bytes(shape_of(QWEN_7B), config) == 57_344


def test_an_engine_over_two_gpus_holds_half_on_each_and_never_less_than_one_key_head() -> None:
    shape, config = shape_of(QWEN_7B), real()
    halves = [estimate.engine_weights(shape, config, ranks=ranks) for ranks in (1, 2)]
    assert halves[1] == halves[0] / 2
    assert [estimate.kv_token_bytes(shape, config, ranks=ranks) for ranks in (2, 4, 8)] == [28_672, 14_336, 14_336]


def test_adapter_slots_follow_rank_ratio_and_split() -> None:
    shape = shape_of(QWEN_3B)
    config = real("policy.lora_rank=24", "loop.async_ratio=1")  # places of rank 32, for three versions
    assert estimate.adapter_slots(shape, config, ranks=1) == 3 * 2 * shape.adapter_parameters(32)
    # Over 2 GPUs, of q 2048 -> 2048: 2048 inputs and 1024 outputs; of o the other way round.
    q, k, o, gate, down = 2048 + 1024, 2048 + 128, 1024 + 2048, 2048 + 5504, 5504 + 2048
    expected = 3 * 2 * 32 * 36 * (q + 2 * k + o + 2 * gate + down)
    assert estimate.adapter_slots(shape, config, ranks=2) == expected


def test_checkpointing_is_what_a_long_group_needs() -> None:
    settings = ["rollout.group_size=8", "rollout.max_tokens=1024", "rollout.max_model_len=3072"]
    plain = estimate.learner(shape_of(QWEN_3B), real(*settings))
    saving = estimate.learner(shape_of(QWEN_3B), real(*settings, "learner.checkpointing=true"))
    assert estimate.pass_tokens(real(*settings)) == 2048 + 8 * 1024
    # Inputs of 36 layers: 10,240 tokens x 2,048 numbers x 2 bytes each.
    assert saving.of("layers' inputs") == 36 * 10_240 * 2_048 * 2
    assert plain.total > 55 * estimate.GIB
    assert saving.total < 14 * estimate.GIB


def test_a_pass_is_never_shorter_than_a_group_nor_longer_than_a_step() -> None:
    lengths = ["rollout.group_size=4", "rollout.max_tokens=100", "rollout.max_model_len=300"]  # a group: 600 tokens

    def tokens(micro: int, groups: int) -> int:
        settings = [*lengths, f"learner.micro_batch_tokens={micro}", f"loop.groups_per_step={groups}"]
        return estimate.pass_tokens(load(None, settings))

    assert [tokens(10, 32), tokens(4096, 32), tokens(4096, 2)] == [600, 4096, 1200]


def test_an_unknown_line_is_an_error() -> None:
    with pytest.raises(KeyError):
        estimate.learner(shape_of(QWEN_3B), real()).of("wings")


def test_sharding_divides_the_decoder_layers_and_nothing_else() -> None:
    shape = shape_of(QWEN_7B)
    config = real("learner.ranks=4", "learner.shard=true")
    layers = 28 * shape.layer_parameters
    # A quarter of the layers, two of them whole, and embeddings, last norm and vision tower whole; 2 bytes each.
    expected = 2 * (shape.parameters - layers + layers // 4 + 2 * shape.layer_parameters)
    assert estimate.learner_weights(shape, config) == expected
    assert estimate.learner_weights(shape, real("learner.ranks=4")) == 2 * shape.parameters
