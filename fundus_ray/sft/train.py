"""Supervised training of the whole network on reasoning traces.

In: a policy, examples. Out: the same policy, trained in place; losses for the run folder.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import completion_logprobs, encode_patches
from fundus_ray.policy.precision import autocast_bf16
from fundus_ray.sft.batch import SftExample, collate

WARMUP_SHARE = 0.05  # of the steps, from zero to the peak rate
GRAD_CLIP = 1.0


def train_on_examples(
    config: Config,
    policy: PolicyModel,
    examples: Sequence[SftExample],
    *,
    steps: int,
    learning_rate: float,
    name: str,
    rows: Iterator[int],
) -> list[float]:
    """Minimise the mean negative log-likelihood of completion tokens, in batches of `sft.batch_size`; `rows` names the
    examples in the order of their use, without end. Returns the loss of each step."""
    pad_id = int(policy.processor.tokenizer.pad_token_id)

    def loss_of_next() -> Tensor:
        batch = collate([examples[next(rows)] for _ in range(config.sft.batch_size)], pad_id=pad_id)
        features = encode_patches(policy, batch.patches.to(policy.network.dtype), batch.grids)
        out = completion_logprobs(
            policy,
            batch.token_ids.to(policy.device),
            prompt_lens=batch.prompt_lens.to(policy.device),
            seq_lens=batch.seq_lens.to(policy.device),
            features=features,
        )
        return -out.logprobs.sum() / out.mask.sum()

    return optimise(
        list(policy.model.parameters()),
        loss_of_next,
        steps=steps,
        learning_rate=learning_rate,
        bf16=config.sft.bf16,
        device=policy.device,
        name=name,
    )


def train_tower(
    config: Config, policy: PolicyModel, head: torch.nn.Module, loss_of_next: Callable[[], Tensor]
) -> list[float]:
    """Train the vision tower and a head on it for `sft.vision_warmup_steps`. Returns the loss of each step."""
    return optimise(
        [*policy.network.model.visual.parameters(), *head.parameters()],
        loss_of_next,
        steps=config.sft.vision_warmup_steps,
        learning_rate=config.sft.learning_rate,
        bf16=config.sft.bf16,
        device=policy.device,
        name="vision warm-up",
    )


def optimise(
    parameters: Sequence[torch.nn.Parameter],
    loss_of_next: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    bf16: bool,
    device: torch.device,
    name: str,
) -> list[float]:
    """AdamW with linear warm-up and cosine decay, gradients clipped, a progress bar. Returns the loss of each step.

    bf16: autocast where the device has such arithmetic.
    """
    bf16 = autocast_bf16(device, wished=bf16, key="sft.bf16")
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    bar = Bar(range(steps), desc=name, unit="step", mininterval=1.0)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule(step / steps)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of_next()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, GRAD_CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
    return losses


def reshuffled(count: int, *, seed: int) -> Iterator[int]:
    """0 to count - 1 without end, shuffled anew each time."""
    rng = random.Random(seed)
    while True:
        pool = list(range(count))
        rng.shuffle(pool)
        yield from reversed(pool)


def _schedule(progress: float) -> float:
    """Share of the peak rate at `progress` in [0, 1]."""
    if progress < WARMUP_SHARE:
        return (progress + 1e-3) / WARMUP_SHARE
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (progress - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
