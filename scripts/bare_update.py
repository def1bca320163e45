"""One policy update by hand, as one would write it without this project: what scripts/learner_speed.py compares with.

Loss: DAPO's clipped surrogate and mean over tokens with truncated importance weights, as the learner's default, written
out for one update a batch. Nothing is checked or reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fundus_ray.config import Config
from fundus_ray.data.images import read_pixels
from fundus_ray.learner.advantage import group_normalised
from fundus_ray.learner.batch import completion_tokens, micro_batches, select_rows
from fundus_ray.policy.load import PolicyModel, checkpoint_layers, load_policy, preprocess_images, with_adapter
from fundus_ray.policy.logprobs import encode_images
from fundus_ray.policy.packed import group_hidden_states, layout_of
from fundus_ray.types import TrainBatch

CLIP_LOW, CLIP_HIGH, LARGEST_WEIGHT = 0.2, 0.28, 2.0


def packed(config: Config, folder: Path, batch: TrainBatch) -> Callable[[], None]:
    """The learner's packed tokens and attention; whole logits. Layout and the images' embeddings are made before."""
    policy = _policy(config, folder)
    device, advantages = policy.device, group_normalised(batch.rewards, batch.image_index)
    passes = []
    for rows, part in micro_batches(batch, tokens=config.learner.micro_batch_tokens):
        lens = {"prompt_lens": part.prompt_lens, "seq_lens": part.seq_lens, "group_of_row": part.image_index}
        layout = layout_of(**lens, device=device)
        with torch.no_grad():
            features = encode_images(policy, [read_pixels(ref) for ref in part.images])
        ids = torch.from_numpy(part.token_ids).to(device)
        behaviour = torch.from_numpy(part.behaviour_logprobs).to(device)[layout.scored]
        advantage = torch.from_numpy(advantages[rows]).to(device)[layout.scored[0]]
        passes.append((ids, layout, features, behaviour, advantage))

    def losses() -> Iterator[Tensor]:
        for ids, layout, features, behaviour, advantage in passes:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.learner.bf16):
                hidden = group_hidden_states(policy, ids, layout=layout, features=features)
                logits = policy.network.lm_head(hidden[layout.predictor])
            yield _loss(logits, ids[layout.scored], behaviour, advantage) / completion_tokens(batch)

    return _stepper(config, policy, losses)


def padded(config: Config, folder: Path, batch: TrainBatch) -> Callable[[], None]:
    """A row a rollout with its own prompt and image; logits of completions only. Prompts must be of one length."""
    policy = _policy(config, folder)
    policy.network.set_attn_implementation("sdpa")
    device, advantages = policy.device, group_normalised(batch.rewards, batch.image_index)
    prompt = int(batch.prompt_lens[0])
    a_pass = max(1, config.learner.micro_batch_tokens // batch.token_ids.shape[1])
    passes = []
    for start in range(0, len(batch.seq_lens), a_pass):
        rows = np.arange(start, min(start + a_pass, len(batch.seq_lens)))
        part = select_rows(batch, rows)
        refs = [part.images[i] for i in part.image_index]
        pixels, grids = preprocess_images(policy.processor, [read_pixels(ref) for ref in refs])
        ids, end = torch.from_numpy(part.token_ids).to(device), torch.from_numpy(part.seq_lens).to(device)
        real = torch.arange(ids.shape[1], device=device) < end.unsqueeze(1)
        inputs = {
            "input_ids": ids,
            "attention_mask": real.long(),
            "pixel_values": pixels.to(device),
            "image_grid_thw": grids.to(device),
            "mm_token_type_ids": (ids == policy.image_token_id).int(),
            "logits_to_keep": ids.shape[1] - prompt + 1,
            "use_cache": False,
        }
        behaviour = torch.from_numpy(part.behaviour_logprobs).to(device)[:, prompt:]
        advantage = torch.from_numpy(advantages[rows]).to(device).unsqueeze(1)
        passes.append((inputs, real[:, prompt:], behaviour, advantage))

    def losses() -> Iterator[Tensor]:
        for inputs, mask, behaviour, advantage in passes:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.learner.bf16):
                logits = policy.model(**inputs).logits[:, :-1]
            yield _loss(logits, inputs["input_ids"][:, prompt:], behaviour, advantage, mask) / completion_tokens(batch)

    return _stepper(config, policy, losses)


def _policy(config: Config, folder: Path) -> PolicyModel:
    base = load_policy(folder, dtype=config.policy.dtype, device="cuda" if config.learner.gpus else "cpu")
    policy = with_adapter(base, rank=config.policy.lora_rank, alpha=config.policy.lora_alpha, seed=config.run.seed)
    if config.learner.checkpointing:
        checkpoint_layers(policy)
    return policy


def _loss(logits: Tensor, ids: Tensor, behaviour: Tensor, advantage: Tensor, mask: Tensor | float = 1.0) -> Tensor:
    logprobs = torch.log_softmax(logits.float(), -1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    weight = (logprobs.detach() - behaviour).exp().clamp(max=LARGEST_WEIGHT)
    rho = (logprobs - logprobs.detach()).exp()
    gain = torch.minimum(rho * advantage, rho.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH) * advantage)
    return -(weight * gain * mask).sum()


def _stepper(config: Config, policy: PolicyModel, losses: Callable[[], Iterator[Tensor]]) -> Callable[[], None]:
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learner.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )

    def update() -> None:
        for loss in losses():
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.learner.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update
