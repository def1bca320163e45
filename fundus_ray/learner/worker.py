"""The learner actor: base weights, one LoRA adapter, one optimizer.

In: train batches. Out: step results, published adapters, checkpoints. actor.py wraps this class for Ray.

    update: rewards -> advantages
            images once a run -> log-probabilities, prompt once a group -> policy loss -> AdamW on the adapter

Of several ranks each gets every batch, and works on its share of the groups of each mini-batch (shares.py). What an
update divides by, advantages and metrics are of the whole; gradients are summed over the ranks (ranks.py) and each
makes the same step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import astuple
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fundus_ray.config import Config
from fundus_ray.cores import pin_process, share_of_cores
from fundus_ray.data.images import read_pixels, unreadable
from fundus_ray.errors import DeliveryError
from fundus_ray.learner.advantage import Advantages
from fundus_ray.learner.aggregation import BatchTotals
from fundus_ray.learner.batch import completion_tokens, split_groups
from fundus_ray.learner.loss import LossSettings, policy_loss
from fundus_ray.learner.mismatch import TokenSums
from fundus_ray.learner.move import move
from fundus_ray.learner.overlong import overlong_penalty
from fundus_ray.learner.ranks import Ranks
from fundus_ray.learner.saved_state import learner_state, put_back
from fundus_ray.learner.shares import Share, share_of
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.policy.adapter import load_published, probe, publish, restore, write_files
from fundus_ray.policy.image_cache import ImageCache
from fundus_ray.policy.load import PolicyModel, adapter_off, checkpoint_layers, load_policy, with_adapter
from fundus_ray.policy.logprobs import ImageFeatures, TokenLogprobs, encode_images, text_logprobs
from fundus_ray.policy.lora_product import fuse_products
from fundus_ray.policy.packed import group_logprobs
from fundus_ray.policy.shard import shard_layers
from fundus_ray.types import ImageRef, PolicyVersion, PublishedAdapter, StepResult, TrainBatch

log = logging.getLogger(__name__)
ALL_MASKED = 0.999  # share of masked tokens from which on a correction leaves nothing to learn from
OPTIMIZER_FILE = "optimizer.pt"
ADAPTER_FOLDER = "adapter"
IDLE_BATCH = TrainBatch(  # the smallest that goes through the network: a text of one token, and one after it
    token_ids=np.zeros((1, 2), dtype=np.int64),
    prompt_lens=np.array([1]),
    seq_lens=np.array([2]),
    behaviour_logprobs=np.zeros((1, 2), dtype=np.float32),
    rewards=np.zeros(1),
    policy_steps=np.zeros(1, dtype=np.int64),
    image_index=np.zeros(1, dtype=np.int64),
    images=(),
    policy_step=0,
)


class LearnerWorker:
    """Owns the policy. `step` is the version that it holds."""

    def __init__(self, config: Config, model_path: str, log_path: str, *, ranks: Ranks | None = None) -> None:
        """ranks: the others and which of them this one is; None = it is alone."""
        if log_path:
            redirect_output(log_path)
        self._ranks = ranks or Ranks()
        at = {"part": self._ranks.rank, "parts": self._ranks.count}
        pin_process(share_of_cores(config.learner.cores, key="learner.cores", **at), key="learner.cores")
        torch.set_num_threads(config.learner.threads)
        self._config = config
        self._loss = LossSettings.of(config.learner)
        self._device = "cuda" if config.learner.gpus else "cpu"
        self._sharded = config.learner.shard and self._ranks.count > 1
        self._policy = self._load_policy(model_path)
        self._images = ImageCache(self._encode, max_bytes=config.learner.image_cache_mb << 20)
        self._trained = {name: p for name, p in self._policy.model.named_parameters() if p.requires_grad}
        self._parameters = list(self._trained.values())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=config.learner.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self._step = 0
        self._warned = False
        self._ranks.check_same(self._trained, when="as loaded")

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
        shares = [self._share_of(part) for _, part in parts]
        # The first one's old policy is the current one until the optimizer steps.
        old = [None, *(self._old_logprobs(part, share) for (_, part), share in zip(parts[1:], shares[1:], strict=True))]
        for (rows, part), share, old_logprobs in zip(parts, shares, old, strict=True):
            loss, part_sums, part_entropy, norm = self._optimise(part, share, advantages[rows], old_logprobs)
            sums, entropy = sums.merge(part_sums), entropy + part_entropy
            metrics["loss"] += loss / len(parts)
            metrics["grad_norm"] += norm / len(parts)
        self._step = batch.policy_step + 1
        self._ranks.check_same(self._trained, when=f"after update {self._step}")
        metrics["entropy"] = entropy / completion_tokens(batch)
        if self._loss.kl:
            metrics["kl"] = sums.kl / sums.tokens
        metrics |= sums.metrics()
        self._warn_of_masks(metrics["masked_share"])
        found = self._ranks.gather([self._images.hits - hits, self._images.misses - misses])
        seconds = time.perf_counter() - started
        metrics["learner/tokens_per_s"] = completion_tokens(batch) / seconds
        metrics["learner/image_cache_hits"] = sum(own for own, _ in found)
        metrics["learner/image_cache_misses"] = sum(own for _, own in found)
        if self._ranks.count > 1:
            metrics["learner/rank_balance"] = sum(share.balance for share in shares) / len(shares)
        return StepResult(step=self._step, seconds=seconds, metrics=metrics)

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter]:
        """The version as it is now: its name for the driver, its bytes for the engines. For rank 0."""
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
        """Adapter, optimizer and random generators; the caller marks the checkpoint complete. For rank 0."""
        write_files(publish(self._policy, step=self._step), Path(folder) / ADAPTER_FOLDER)
        torch.save(learner_state(self._optimizer, step=self._step), Path(folder) / OPTIMIZER_FILE)

    def accompany(self) -> None:
        """What every other rank does while rank 0 publishes or saves: it cannot make the probe's pass alone where the
        base is sharded."""
        if self._sharded:
            probe(self._policy)

    def load(self, folder: str) -> None:
        """What `save` wrote, on every rank. Raises DeliveryError where it does not give back the policy that was saved,
        RanksDivergedError where ranks found other files."""
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
        self._ranks.check_same(self._trained, when=f"after loading {folder}")

    def _load_policy(self, model_path: str) -> PolicyModel:
        config = self._config
        # It takes its turns on the GPU, or goes there layer by layer.
        lies_on = "cpu" if config.ray.colocate or self._sharded else None
        base = load_policy(model_path, dtype=config.policy.dtype, device=self._device, lies_on=lies_on)
        policy = with_adapter(base, rank=config.policy.lora_rank, alpha=config.policy.lora_alpha, seed=config.run.seed)
        fuse_products(policy)
        if config.learner.checkpointing:
            checkpoint_layers(policy)
        return shard_layers(policy, self._ranks.mesh(), device=self._device) if self._sharded else policy

    def _share_of(self, batch: TrainBatch) -> Share:
        tokens = self._config.learner.micro_batch_tokens
        return share_of(batch, rank=self._ranks.rank, ranks=self._ranks.count, tokens=tokens)

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
        self, batch: TrainBatch, share: Share, advantages: Advantages, old_logprobs: Tensor | None
    ) -> tuple[float, TokenSums, float, float]:
        """One optimizer step: (loss, token sums, summed entropy in nats, gradient norm), of all ranks."""
        learner, device = self._config.learner, self._policy.device
        totals = BatchTotals(
            tokens=completion_tokens(batch),
            sequences=len(batch.seq_lens),
            max_tokens=self._config.rollout.max_tokens,
        )
        loss, sums, entropy = 0.0, TokenSums(), 0.0
        for rows, micro in share.passes:
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
        self._idle_passes(share, learn=True)
        self._ranks.add_gradients(self._parameters)
        found = self._ranks.gather([loss, entropy, *astuple(sums)])
        loss, entropy = sum(own[0] for own in found), sum(own[1] for own in found)
        sums = reduce(TokenSums.merge, (TokenSums(*own[2:]) for own in found))
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, learner.grad_clip))
        if not np.isfinite(norm):
            raise FloatingPointError(f"gradient norm {norm} at policy version {batch.policy_step}: the step is refused")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss, sums, entropy, norm

    def _idle_passes(self, share: Share, *, learn: bool) -> None:
        """With a sharded base the other ranks cannot make their passes alone; these teach nothing."""
        if not self._sharded:
            return
        for _ in range(share.missing):
            if learn and self._loss.kl:
                self._reference_logprobs(IDLE_BATCH, None)
            out = self._logprobs(IDLE_BATCH, None).logprobs
            if learn:
                (0.0 * out.sum()).backward()  # type: ignore[no-untyped-call]

    def _logprobs(self, batch: TrainBatch, features: ImageFeatures | None) -> TokenLogprobs:
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

    @torch.no_grad()
    def _old_logprobs(self, batch: TrainBatch, share: Share) -> Tensor:
        """[N, T] under the policy as it is before the batch's first update, of this rank's rows."""
        out = torch.zeros(batch.token_ids.shape, device=self._policy.device)
        for rows, micro in share.passes:
            features = self._images.features(micro.images)
            out[rows, : micro.token_ids.shape[1]] = self._logprobs(micro, features).logprobs
        self._idle_passes(share, learn=False)
        return out

    def _reference_logprobs(self, batch: TrainBatch, features: ImageFeatures | None) -> Tensor:
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
