"""The learner actor: base weights, one LoRA adapter, one optimizer.

In: train batches. Out: step results, published adapters, checkpoints. The runtime wraps this class as a Ray actor.

    update: rewards -> advantages
            images once a run -> log-probabilities, prompt once a group -> policy loss -> AdamW on the adapter
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fundus_ray.config import Config
from fundus_ray.cores import pin_process
from fundus_ray.data.images import read_pixels, unreadable
from fundus_ray.errors import DeliveryError
from fundus_ray.learner.advantage import Advantages
from fundus_ray.learner.aggregation import BatchTotals
from fundus_ray.learner.batch import completion_tokens, micro_batches, split_groups
from fundus_ray.learner.loss import LossSettings, policy_loss
from fundus_ray.learner.mismatch import TokenSums
from fundus_ray.learner.move import move
from fundus_ray.learner.overlong import overlong_penalty
from fundus_ray.learner.saved_state import learner_state, put_back
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.policy.adapter import load_published, publish, restore, write_files
from fundus_ray.policy.image_cache import ImageCache
from fundus_ray.policy.load import adapter_off, checkpoint_layers, load_policy, with_adapter
from fundus_ray.policy.logprobs import ImageFeatures, TokenLogprobs, encode_images, text_logprobs
from fundus_ray.policy.lora_product import fuse_products
from fundus_ray.policy.packed import group_logprobs
from fundus_ray.types import ImageRef, PolicyVersion, PublishedAdapter, StepResult, TrainBatch

log = logging.getLogger(__name__)
ALL_MASKED = 0.999  # share of masked tokens from which on a correction leaves nothing to learn from
OPTIMIZER_FILE = "optimizer.pt"
ADAPTER_FOLDER = "adapter"


class LearnerWorker:
    """Owns the policy. `step` is the version that it holds."""

    def __init__(self, config: Config, model_path: str, log_path: str) -> None:
        if log_path:
            redirect_output(log_path)
        pin_process(config.learner.cores, key="learner.cores")
        torch.set_num_threads(config.learner.threads)
        self._config = config
        self._loss = LossSettings.of(config.learner)
        self._device = "cuda" if config.learner.gpus else "cpu"
        lies_on = "cpu" if config.ray.colocate else None  # it takes its turns on the GPU
        base = load_policy(model_path, dtype=config.policy.dtype, device=self._device, lies_on=lies_on)
        self._policy = with_adapter(
            base, rank=config.policy.lora_rank, alpha=config.policy.lora_alpha, seed=config.run.seed
        )
        fuse_products(self._policy)
        if config.learner.checkpointing:
            checkpoint_layers(self._policy)
        self._images = ImageCache(self._encode, max_bytes=config.learner.image_cache_mb << 20)
        self._parameters = [p for p in self._policy.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=config.learner.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self._step = 0
        self._warned = False

    def unreadable(self, images: Sequence[ImageRef]) -> dict[int, str]:
        """place -> why, of images that are not kept here and cannot be read."""
        unknown = [place for place, ref in enumerate(images) if not self._images.holds(ref.sha256)]
        found = unreadable([images[place] for place in unknown])
        return {unknown[place]: reason for place, reason in found.items()}

    def update(self, batch: TrainBatch) -> StepResult:
        """`updates_per_batch` optimizer steps on the batch; the version counts up by one."""
        started = time.perf_counter()
        sums, entropy = TokenSums(), 0.0
        hits, misses = self._images.hits, self._images.misses
        advantages, shaping = self._advantages(batch)
        metrics = {"loss": 0.0, "grad_norm": 0.0, **shaping}
        parts = split_groups(batch, self._config.learner.updates_per_batch)
        # The first one's old policy is the current one until the optimizer steps.
        old = [None, *(self._old_logprobs(part) for _, part in parts[1:])]
        for (rows, part), old_logprobs in zip(parts, old, strict=True):
            loss, part_sums, part_entropy, norm = self._optimise(part, advantages[rows], old_logprobs)
            sums, entropy = sums.merge(part_sums), entropy + part_entropy
            metrics["loss"] += loss / len(parts)
            metrics["grad_norm"] += norm / len(parts)
        self._step = batch.policy_step + 1
        metrics["entropy"] = entropy / completion_tokens(batch)
        if self._loss.kl:
            metrics["kl"] = sums.kl / sums.tokens
        metrics |= sums.metrics()
        self._warn_of_masks(metrics["masked_share"])
        seconds = time.perf_counter() - started
        metrics["learner/tokens_per_s"] = completion_tokens(batch) / seconds
        metrics["learner/image_cache_hits"] = float(self._images.hits - hits)
        metrics["learner/image_cache_misses"] = float(self._images.misses - misses)
        return StepResult(step=self._step, seconds=seconds, metrics=metrics)

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter]:
        """The version as it is now: its name for the driver, its bytes for the engines."""
        # In the engines' own precision: half the bytes where that is bfloat16.
        adapter = publish(self._policy, step=self._step, dtype=self._policy.network.dtype)
        return adapter.version, adapter

    def onload(self) -> None:
        """Onto its GPU, where updates are made."""
        self._policy = move(self._policy, self._optimizer, device=self._device)

    def offload(self) -> None:
        """Into the machine's memory, where it can be published, saved and loaded too, only more slowly."""
        self._policy = move(self._policy, self._optimizer, device="cpu")

    def save(self, folder: str) -> None:
        """Adapter, optimizer and random generators; the caller marks the checkpoint complete."""
        write_files(publish(self._policy, step=self._step), Path(folder) / ADAPTER_FOLDER)
        torch.save(learner_state(self._optimizer, step=self._step), Path(folder) / OPTIMIZER_FILE)

    def load(self, folder: str) -> None:
        """What `save` wrote. Raises DeliveryError where it does not give back the policy that was saved."""
        saved = load_published(Path(folder) / ADAPTER_FOLDER)
        restore(self._policy, saved.files)
        gap = np.abs(np.subtract(text_logprobs(self._policy, saved.probe_token_ids), saved.probe_logprobs)).max()
        if not gap <= self._config.probe_tolerance:
            raise DeliveryError(
                f"{folder}: with these base weights its adapter differs from the saved policy by {gap:.3g} nats on the "
                f"probe, allowed {self._config.probe_tolerance:g}"
            )
        state = torch.load(Path(folder) / OPTIMIZER_FILE, weights_only=True, map_location=self._policy.device)
        self._step = put_back(state, self._optimizer, learning_rate=self._config.learner.learning_rate)

    def _advantages(self, batch: TrainBatch) -> tuple[Advantages, dict[str, float]]:
        """[N], over the whole batch before it is split; and metrics of what overlong completions paid."""
        penalty = overlong_penalty(
            batch.seq_lens - batch.prompt_lens,
            max_tokens=self._config.rollout.max_tokens,
            overlong_tokens=self._config.learner.overlong_tokens,
        )
        advantages = self._loss.algorithm.advantage(batch.rewards + penalty, batch.image_index)
        if not self._config.learner.overlong_tokens:
            return advantages, {}
        paid = {"overlong/penalty_mean": float(penalty.mean()), "overlong/share": float((penalty < 0).mean())}
        return advantages, paid

    def _optimise(
        self, batch: TrainBatch, advantages: Advantages, old_logprobs: Tensor | None
    ) -> tuple[float, TokenSums, float, float]:
        """One optimizer step: (loss, token sums, summed entropy in nats, gradient norm)."""
        learner, device = self._config.learner, self._policy.device
        totals = BatchTotals(
            tokens=completion_tokens(batch),
            sequences=len(batch.seq_lens),
            max_tokens=self._config.rollout.max_tokens,
        )
        loss, sums, entropy = 0.0, TokenSums(), 0.0
        for rows, micro in micro_batches(batch, tokens=learner.micro_batch_tokens):
            features = self._images.features(micro.images)
            reference = self._reference_logprobs(micro, features) if self._loss.kl else None
            out = self._logprobs(micro, features)
            width = micro.token_ids.shape[1]
            part = policy_loss(
                out.logprobs,
                old_logprobs=out.logprobs.detach() if old_logprobs is None else old_logprobs[rows, :width],
                behaviour_logprobs=torch.from_numpy(micro.behaviour_logprobs).to(device),
                reference_logprobs=reference,
                advantages=torch.from_numpy(advantages[rows]).to(device),
                mask=out.mask,
                totals=totals,
                settings=self._loss,
            )
            part.loss.backward()  # type: ignore[no-untyped-call]
            loss += float(part.loss.detach())
            sums = sums.merge(part.sums)
            entropy += float(out.entropy.sum())
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, learner.grad_clip))
        if not np.isfinite(norm):
            raise FloatingPointError(f"gradient norm {norm} at policy version {batch.policy_step}: the step is refused")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss, sums, entropy, norm

    def _logprobs(self, batch: TrainBatch, features: ImageFeatures) -> TokenLogprobs:
        device = self._policy.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._config.learner.bf16):
            return group_logprobs(
                self._policy,
                torch.from_numpy(batch.token_ids).to(device),
                prompt_lens=batch.prompt_lens,
                seq_lens=batch.seq_lens,
                group_of_row=batch.image_index,
                features=features,
                temperature=self._config.rollout.temperature,
            )

    def _old_logprobs(self, batch: TrainBatch) -> Tensor:
        """[N, T] under the policy as it is before the batch's first update."""
        out = torch.zeros(batch.token_ids.shape, device=self._policy.device)
        for rows, micro in micro_batches(batch, tokens=self._config.learner.micro_batch_tokens):
            with torch.no_grad():
                features = self._images.features(micro.images)
                out[rows, : micro.token_ids.shape[1]] = self._logprobs(micro, features).logprobs
        return out

    def _reference_logprobs(self, batch: TrainBatch, features: ImageFeatures) -> Tensor:
        """[N, T] under the policy that RL started from."""
        with torch.no_grad(), adapter_off(self._policy):
            return self._logprobs(batch, features).logprobs

    def _warn_of_masks(self, share: float) -> None:
        """Once a run: an update of masked tokens is one of the optimizer's momentum alone."""
        if share < ALL_MASKED or self._warned:
            return
        self._warned = True
        log.warning(
            "learner.correction=%s left out %.1f %% of the tokens of update %d: nothing is learned from them; widen "
            "learner.correction_low and learner.correction_high, or lower loop.async_ratio or learner.learning_rate",
            self._config.learner.correction,
            100 * share,
            self._step,
        )

    def _encode(self, images: Sequence[ImageRef]) -> ImageFeatures:
        with torch.no_grad():
            return encode_images(self._policy, [read_pixels(ref) for ref in images])
