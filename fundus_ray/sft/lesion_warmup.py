"""Where are the lesions? What a vision tower made from scratch must learn before it can learn from traces.

In: training samples. Out: the policy, trained in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.data.rendered.phantoms import FINDINGS, render, seed_of
from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import encode_patches
from fundus_ray.sft.batch import SftExample, check_pairs
from fundus_ray.sft.train import train_tower
from fundus_ray.types import Sample

POSITIVE_WEIGHT = 4.0  # lesion cells are rare


def lesion_warmup(
    config: Config, policy: PolicyModel, samples: Sequence[Sample], *, examples: Sequence[SftExample]
) -> list[float]:
    """Teach the vision tower which finding lies in which cell of its output grid, through a throw-away linear head.

    Phantoms only: their masks are rendered again from the seeds in the samples' ids. Binary cross-entropy over
    [cells, findings]. Returns the loss of each step.
    """
    check_pairs(samples, examples)
    sft = config.sft
    targets = torch.stack(
        [torch.from_numpy(finding_cells(s)) for s in Bar(samples, desc="lesion maps", unit="image")]
    )  # [M, cells, findings]
    head = nn.Linear(policy.network.config.vision_config.out_hidden_size, len(FINDINGS)).to(policy.device)
    rng = np.random.default_rng(config.run.seed)
    weight = torch.full((len(FINDINGS),), POSITIVE_WEIGHT, device=policy.device)

    def loss_of_next() -> Tensor:
        index = rng.integers(0, len(examples), size=sft.batch_size).tolist()
        patches = torch.cat([examples[i].image.patches for i in index]).to(policy.network.dtype)
        features = encode_patches(policy, patches, torch.stack([examples[i].image.grid for i in index]))
        logits = head(torch.stack(features.embeddings)).float()
        wanted = targets[index].to(policy.device)
        return nn.functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)

    return train_tower(config, policy, head, loss_of_next)


def finding_cells(sample: Sample) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[cells, findings] of 0 or 1: does the finding touch the 28-px cell? Cells in row order, as the tower's tokens."""
    side = sample.image.width_px // 28
    masks = render(seed_of(sample), image_px=sample.image.width_px).masks
    out = np.zeros((side * side, len(FINDINGS)), dtype=np.float32)
    for name, mask in masks.items():
        out[:, FINDINGS.index(name)] = mask.reshape(side, 28, side, 28).any(axis=(1, 3)).reshape(-1)
    return out
