"""The learner: a step moves the adapter alone and the right way; a checkpoint brings everything back."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fundus_ray.config import Config, load
from fundus_ray.learner.advantage import EPS
from fundus_ray.learner.algorithm import ALGORITHMS
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.policy.load import expand_image_token, load_processor, prompt_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Sample, TrainBatch

UNIT = 0.5 / (0.5 + EPS)  # advantage of a right rollout in a group of one right and one wrong
# What w and the advantages of the groups (1, 0) and (1, 0) make of a fresh policy, whose ratios are 1. Rows of a group
# have 3 tokens and 2, the second group's weights are w. Token mean: (3 - 2) A + w (3 - 2) A over 10 tokens. Sequence
# mean: 0, as good and bad cancel. Sum over 4 sequences, without and with the constant 64 below it.
LOSSES: dict[str, Callable[[float], float]] = {
    "grpo": lambda w: 0.0,
    "dr_grpo": lambda w: -0.5 * (1 + w) / (4 * 64),
    "rloo": lambda w: -1.0 * (1 + w) / 4,
    "reinforce_pp": lambda w: -UNIT * (1 + w) / 10,
    "dapo": lambda w: -UNIT * (1 + w) / 10,
    "gspo": lambda w: 0.0,
}
# Every token of the second group is ten times likelier now than when it was written.
WEIGHTS = {"none": 1.0, "tis": 2.0, "icepop": 0.0, "geometric": 0.0, "decoupled": 0.0}


def batch_of(
    tiny_policy: Path, samples: tuple[Sample, ...], *, learner: LearnerWorker | None = None, groups: int = 2
) -> TrainBatch:
    """Groups of two: in each, the first completion was good and the second bad."""
    processor = load_processor(tiny_policy)
    rows, prompts = [], []
    for group, sample in enumerate(samples[:groups]):
        ids = processor.tokenizer(prompt_text(processor, build_prompt(sample, group_id=0, seed=0)))["input_ids"]
        prompt = expand_image_token(ids, image_token_id=processor.image_token_id, count=16)
        for completion in ([10 + group, 20, 30], [40, 50 + group]):
            rows.append([*prompt, *completion])
            prompts.append(len(prompt))
    token_ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    batch = TrainBatch(
        token_ids=token_ids,
        prompt_lens=np.array(prompts),
        seq_lens=np.array([len(r) for r in rows]),
        behaviour_logprobs=np.zeros(token_ids.shape, dtype=np.float32),
        rewards=np.tile([1.0, 0.0], groups),
        policy_steps=np.zeros(len(rows), dtype=np.int64),
        image_index=np.repeat(np.arange(groups), 2),
        images=tuple(s.image for s in samples[:groups]),
        policy_step=0,
    )
    if learner is None:
        return batch
    # As a perfect engine would have reported them.
    return dataclasses.replace(batch, behaviour_logprobs=logprobs_of(learner, batch).numpy())


def logprobs_of(learner: LearnerWorker, batch: TrainBatch) -> torch.Tensor:
    return learner._logprobs(batch, learner._images.features(batch.images)).logprobs.detach()


def move_adapter(learner: LearnerWorker) -> None:
    """Where B is 0, as in a fresh adapter, A has no gradient."""
    for name, parameter in learner._policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))


@pytest.fixture
def config() -> Config:
    return load(None, ["policy.lora_rank=4", "learner.learning_rate=0.01", "learner.micro_batch_tokens=100"])


def scores(learner: LearnerWorker, batch: TrainBatch) -> list[float]:
    with torch.no_grad():
        return [float(v) for v in logprobs_of(learner, batch).sum(1)]


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
    # Fresh policy, ratios 1, advantages +-UNIT: loss = -(3 - 2 + 3 - 2) UNIT / 10 tokens.
    assert result.metrics["loss"] == pytest.approx(-0.2 * UNIT, abs=1e-5)
    assert "kl" not in result.metrics
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


def test_the_second_update_clips_the_same_however_the_batch_is_cut(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    def updated(tokens: int) -> tuple[dict[str, float], torch.Tensor]:
        settings = ["policy.lora_rank=4", "learner.learning_rate=0.02", "learner.updates_per_batch=2"]
        config = load(None, [*settings, "learner.algorithm=dapo", f"learner.micro_batch_tokens={tokens}"])
        learner = LearnerWorker(config, str(tiny_policy), "")
        move_adapter(learner)
        metrics = learner.update(batch_of(tiny_policy, samples, learner=learner, groups=4)).metrics
        return metrics, torch.cat([p.detach().flatten() for p in learner._parameters])

    (alone, adapter_alone), (whole, adapter_whole) = updated(1), updated(10_000)
    assert 0 < whole["clip_share"] < 0.5  # of the second mini-batch's tokens some are clipped, but not all
    assert alone["clip_share"] == whole["clip_share"]
    assert alone["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    torch.testing.assert_close(adapter_alone, adapter_whole, atol=1e-4, rtol=1e-4)


def test_the_first_mini_batch_needs_no_pass_for_its_old_logprobs(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    learner = LearnerWorker(load(None, ["policy.lora_rank=4", "learner.updates_per_batch=2"]), str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples)
    passes: list[None] = []
    learner._policy.network.model.language_model.register_forward_hook(lambda *_: passes.append(None))
    learner.update(batch)
    assert len(passes) == 3  # two with a gradient, and one for what the second's ratios are taken against


@pytest.mark.parametrize("correction", sorted(WEIGHTS))
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_learns_under_every_correction(
    tiny_policy: Path, samples: tuple[Sample, ...], algorithm: str, correction: str
) -> None:
    settings = ["policy.lora_rank=4", "learner.learning_rate=0.01", "learner.micro_batch_tokens=100"]
    forced = ["learner.allow_uncorrected=true"] if correction == "none" else []
    named = [f"learner.algorithm={algorithm}", f"learner.correction={correction}"]
    learner = LearnerWorker(load(None, [*settings, *named, *forced]), str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples, learner=learner)
    stale = batch.behaviour_logprobs - np.log(10) * (batch.image_index == 1)[:, None]
    batch = dataclasses.replace(batch, behaviour_logprobs=stale.astype(np.float32))
    before = logprobs_of(learner, batch)
    result = learner.update(batch)
    change = (logprobs_of(learner, batch) - before).sum(1).tolist()
    assert change[0] > 0 > change[1]
    w = WEIGHTS[correction]
    # CISPO's value is sum w A log pi over 10 tokens, not a number of ratios.
    signed = np.array([UNIT, -UNIT, w * UNIT, -w * UNIT]) * before.sum(1).numpy()
    expected = -signed.sum() / 10 if algorithm == "cispo" else LOSSES[algorithm](w)
    assert result.metrics["loss"] == pytest.approx(expected, abs=1e-5)
    assert result.metrics["truncated_share"] == (0.5 if correction == "tis" else 0.0)
    assert result.metrics["masked_share"] == (0.5 if w == 0 else 0.0)
    assert result.metrics["clip_share"] == 0.0
    assert result.metrics["mismatch/ratio_mean"] == pytest.approx(5.5, rel=1e-4)  # five tokens of 1, five of 10


def test_kl_penalty_holds_the_policy_near_the_one_that_rl_started_from(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    config = load(
        None, ["policy.lora_rank=4", "learner.learning_rate=0.01", "learner.kl=0.1", "learner.kl_estimator=k2"]
    )
    learner = LearnerWorker(config, str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples, learner=learner)
    started_from = logprobs_of(learner, batch)
    assert learner.update(batch).metrics["kl"] == pytest.approx(0, abs=1e-9)
    moved = logprobs_of(learner, batch)
    reference = learner._reference_logprobs(batch, learner._images.features(batch.images))
    torch.testing.assert_close(reference, started_from)
    torch.testing.assert_close(logprobs_of(learner, batch), moved)  # the adapter is on again
    # k2 of the ten completion tokens, from log-probabilities taken outside the update.
    by_hand = float((moved - started_from).square().sum()) / 2 / 10
    assert learner.update(batch).metrics["kl"] == pytest.approx(by_hand, rel=1e-4)
    assert by_hand > 1e-4
    # Equal rewards leave the penalty alone to learn from.
    flat = dataclasses.replace(batch, rewards=np.ones(4))
    distances = [learner.update(flat).metrics["kl"] for _ in range(12)]
    assert distances[-1] < distances[0] / 2


def test_overlong_completions_pay_before_the_advantages_are_made(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    # Lengths 3 and 2 of at most 4, of which the last 2 cost: penalties -1/2 and 0. All were right, so the rewards 1/2
    # and 1 of each group make advantages -+0.25 / (0.25 + EPS).
    config = load(None, ["policy.lora_rank=4", "rollout.max_tokens=4", "learner.overlong_tokens=2"])
    learner = LearnerWorker(config, str(tiny_policy), "")
    batch = dataclasses.replace(batch_of(tiny_policy, samples, learner=learner), rewards=np.ones(4))
    metrics = learner.update(batch).metrics
    assert (metrics["overlong/penalty_mean"], metrics["overlong/share"]) == (-0.25, 0.5)
    # -(-3 + 2 - 3 + 2) A / 10 tokens.
    assert metrics["loss"] == pytest.approx(0.2 * 0.25 / (0.25 + EPS), abs=1e-5)


def test_a_correction_that_leaves_nothing_is_said_once(
    tiny_policy: Path, samples: tuple[Sample, ...], caplog: pytest.LogCaptureFixture
) -> None:
    config = load(None, ["policy.lora_rank=4", "learner.correction=geometric"])
    learner = LearnerWorker(config, str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples)  # behaviour log-probabilities of 0: far from any policy's
    with caplog.at_level(logging.WARNING):
        shares = [learner.update(batch).metrics["masked_share"] for _ in range(2)]
    assert shares == [1.0, 1.0]
    (record,) = caplog.records
    assert record.getMessage().startswith("learner.correction=geometric left out 100.0 % of the tokens of update 1: ")


def saved_after_an_update(
    policy: Path, samples: tuple[Sample, ...], config: Config, folder: Path
) -> tuple[LearnerWorker, TrainBatch]:
    """A learner that has updated once and saved to the folder, and its batch."""
    learner = LearnerWorker(config, str(policy), "")
    batch = batch_of(policy, samples, learner=learner)
    learner.update(batch)
    learner.save(str(folder))
    return learner, batch


def test_a_checkpoint_brings_back_adapter_optimizer_and_step(
    tiny_policy: Path, samples: tuple[Sample, ...], config: Config, tmp_path: Path
) -> None:
    first, batch = saved_after_an_update(tiny_policy, samples, config, tmp_path)
    second = LearnerWorker(config, str(tiny_policy), "")
    assert second.publish()[0] != first.publish()[0]
    second.load(str(tmp_path))
    assert second.publish()[0] == first.publish()[0]
    first.update(batch)
    second.update(batch)  # differs unless the optimizer's moments came back too
    torch.testing.assert_close(scores(second, batch), scores(first, batch))
    assert second.publish()[0].sha256 == first.publish()[0].sha256


RESUMED = ["policy.lora_rank=4", "learner.learning_rate=0.01", "learner.updates_per_batch=2"]
FRESH = """
import json, pickle, sys, torch
from fundus_ray.config import load
from fundus_ray.learner.worker import LearnerWorker
folder, policy, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
learner = LearnerWorker(load(None, settings), policy, "")
torch.rand(7)  # whatever a process draws before it loads
learner.load(folder)
learner.update(pickle.load(open(folder + "/batch.pkl", "rb")))
print(learner.publish()[0].sha256, torch.rand(1).item())
"""


def test_an_update_after_a_resume_in_a_fresh_process_is_the_one_that_would_have_come(
    tiny_policy: Path, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    learner = LearnerWorker(load(None, RESUMED), str(tiny_policy), "")
    move_adapter(learner)
    batch = batch_of(tiny_policy, samples, learner=learner)
    learner.update(batch)
    learner.save(str(tmp_path))
    second = dataclasses.replace(batch, policy_step=1, policy_steps=batch.policy_steps + 1, rewards=1 - batch.rewards)
    (tmp_path / "batch.pkl").write_bytes(pickle.dumps(second))
    command = [sys.executable, "-c", FRESH, str(tmp_path), str(tiny_policy), json.dumps(RESUMED)]
    before = learner.publish()[0]
    learner.update(second)
    after = learner.publish()[0]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    sha256, drawn = done.stdout.split()[-2:]
    assert sha256 == after.sha256 != before.sha256
    assert float(drawn) == torch.rand(1).item()  # the next number of the generator too


def test_a_resumed_run_steps_at_the_rate_that_it_is_given(
    tiny_policy: Path, samples: tuple[Sample, ...], config: Config, tmp_path: Path
) -> None:
    _, batch = saved_after_an_update(tiny_policy, samples, config, tmp_path)
    steps = []
    for rate in (0.01, 0.0001):
        changed = load(None, ["policy.lora_rank=4", f"learner.learning_rate={rate}"])
        learner = LearnerWorker(changed, str(tiny_policy), "")
        learner.load(str(tmp_path))
        before = torch.cat([p.detach().flatten() for p in learner._parameters])
        learner.update(batch)
        steps.append(torch.cat([p.detach().flatten() for p in learner._parameters]) - before)
    # The moments are the same ones, so a hundredth of the rate makes a hundredth of the step.
    torch.testing.assert_close(100 * steps[1], steps[0], atol=1e-4, rtol=1e-2)
    assert float(steps[0].abs().max()) > 1e-3


def after_one_update(tiny_policy: Path, samples: tuple[Sample, ...], *settings: str) -> tuple[float, torch.Tensor]:
    """(loss, gradient of all of the adapter, clipped), where both of the adapter's matrices have one."""
    learner = LearnerWorker(load(None, ["policy.lora_rank=4", *settings]), str(tiny_policy), "")
    move_adapter(learner)
    batch = batch_of(tiny_policy, samples, learner=learner)
    grads: list[torch.Tensor] = []
    learner._optimizer.step = lambda: grads.append(torch.cat([p.grad.flatten() for p in learner._parameters]))  # type: ignore[method-assign, assignment, return-value]
    return learner.update(batch).metrics["loss"], grads[0]


@pytest.mark.parametrize("tokens", [1, 110, 10_000])
def test_loss_and_gradient_are_the_same_however_the_batch_is_cut(
    tiny_policy: Path, samples: tuple[Sample, ...], tokens: int
) -> None:
    loss, grad = after_one_update(
        tiny_policy, samples, f"learner.micro_batch_tokens={tokens}", "learner.algorithm=dapo"
    )
    assert loss == pytest.approx(-0.2 * UNIT, abs=1e-6)
    expected = after_one_update(tiny_policy, samples, "learner.micro_batch_tokens=200")[1]
    torch.testing.assert_close(grad, expected, atol=1e-6, rtol=1e-4)
    assert float(grad.norm()) > 1e-3


def test_bfloat16_and_checkpointing_learn_the_same(tiny_policy: Path, samples: tuple[Sample, ...]) -> None:
    _, exact = after_one_update(tiny_policy, samples)
    _, again = after_one_update(tiny_policy, samples, "learner.checkpointing=true")
    torch.testing.assert_close(again, exact, atol=1e-7, rtol=1e-5)
    for more in ([], ["learner.checkpointing=true"]):
        _, rounded = after_one_update(tiny_policy, samples, "learner.bf16=true", *more)
        assert float(torch.cosine_similarity(rounded, exact, dim=0)) > 0.99
        assert not torch.equal(rounded, exact)


def test_checkpointing_and_smaller_micro_batches_lower_the_peak(
    tiny_policy: Path, samples: tuple[Sample, ...], peak_bytes: Callable[[Callable[[], object]], int]
) -> None:
    def peak(*settings: str) -> int:
        learner = LearnerWorker(load(None, ["policy.lora_rank=4", *settings]), str(tiny_policy), "")
        batch = batch_of(tiny_policy, samples)
        learner.update(batch)  # the optimizer's moments and the images are there
        return peak_bytes(lambda: learner.update(batch))

    whole, alone = peak(), peak("learner.micro_batch_tokens=1")
    assert alone < 0.7 * whole
    assert peak("learner.checkpointing=true") < 0.6 * whole
    assert peak("learner.checkpointing=true", "learner.micro_batch_tokens=1") < 0.6 * alone


def test_an_image_that_is_gone_is_told_by_its_place_unless_the_cache_holds_it(
    tiny_policy: Path, samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    learner = LearnerWorker(load(None, ["policy.lora_rank=4"]), str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples)
    gone = dataclasses.replace(batch.images[1], path=str(tmp_path / "gone.png"))
    assert learner.unreadable([batch.images[0], gone]) == {1: f"image {tmp_path}/gone.png does not exist"}
    learner.update(batch)
    assert learner.unreadable([batch.images[0], gone]) == {}


def test_an_image_is_encoded_once_in_all_updates_and_for_the_reference(
    tiny_policy: Path, samples: tuple[Sample, ...]
) -> None:
    settings = ["policy.lora_rank=4", "learner.updates_per_batch=2", "learner.kl=0.1"]
    learner = LearnerWorker(load(None, settings), str(tiny_policy), "")
    batch = batch_of(tiny_policy, samples)
    first, second = learner.update(batch).metrics, learner.update(batch).metrics
    # Two passes with a gradient, and one of the second mini-batch before the first update.
    assert (first["learner/image_cache_misses"], first["learner/image_cache_hits"]) == (2.0, 1.0)
    assert (second["learner/image_cache_misses"], second["learner/image_cache_hits"]) == (0.0, 3.0)
    assert first["learner/tokens_per_s"] > 0
