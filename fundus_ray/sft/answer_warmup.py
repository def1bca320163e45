"""What does the image tell? What a vision tower made from scratch learns from answers alone, where no lesion is drawn.

In: training samples. Out: the policy, trained in place. A set asks many questions of each image, and a chain carries
one of them in a few of its tokens; here one look at the image is told the answers to all. Our own choice.

    image -> tower -> its cells, pooled to a coarse grid -> a throw-away linear head -> every option of every question
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fundus_ray.config import Config
from fundus_ray.errors import DataError
from fundus_ray.policy.load import PolicyModel
from fundus_ray.policy.logprobs import encode_patches
from fundus_ray.sft.batch import ImagePatches, SftExample, check_pairs
from fundus_ray.sft.train import train_tower
from fundus_ray.types import Sample

GRID = 4  # of GRID x GRID fields; where a sign lies is half of what is asked
TARGETS = 4096  # options that most images are asked about; more would make the head larger than the tower
RAREST = 0.02  # an option that is right, or wrong, less often weighs no more than one of this share

Option = tuple[str, str, str]  # task, question, option


@dataclass(frozen=True, slots=True)
class Answered:
    """M images and C options. wanted [M, C]: 1 right, 0 wrong, NaN not asked."""

    images: tuple[ImagePatches, ...]
    options: tuple[Option, ...]
    wanted: Tensor


def answer_warmup(
    config: Config, policy: PolicyModel, samples: Sequence[Sample], *, examples: Sequence[SftExample]
) -> list[float]:
    """Teach the tower the answers to all questions about an image at once. Binary cross-entropy, right and wrong of
    each option weighing the same. Returns the loss of each step.

    Raises DataError where no sample has options.
    """
    told = answered(samples, examples=examples)
    if not told.options:
        raise DataError(
            "no sample has options, so the vision tower has no answers to learn; set sft.vision_warmup_steps=0"
        )
    head = nn.Linear(policy.network.config.vision_config.out_hidden_size * GRID**2, len(told.options)).to(policy.device)
    share = told.wanted.nanmean(0).clamp(RAREST, 1 - RAREST)
    weights = torch.stack([0.5 / (1 - share), 0.5 / share]).to(policy.device)  # [wrong or right, C]
    rng = np.random.default_rng(config.run.seed)

    def loss_of_next() -> Tensor:
        rows = rng.integers(0, len(told.images), size=config.sft.batch_size).tolist()
        logits = head(pooled(policy, [told.images[row] for row in rows])).float()
        wanted = told.wanted[rows].to(policy.device)
        right = wanted.nan_to_num()
        weight = torch.where(right > 0, weights[1], weights[0]) * ~wanted.isnan()
        losses = nn.functional.binary_cross_entropy_with_logits(logits, right, reduction="none")
        return (losses * weight).sum() / weight.sum()

    return train_tower(config, policy, head, loss_of_next)


def answered(samples: Sequence[Sample], *, examples: Sequence[SftExample]) -> Answered:
    """Images, each once, with the options of all its questions; samples and examples go together one by one."""
    check_pairs(samples, examples)
    asked = Counter((s.task, s.question, option) for s in samples for option in s.options)
    options = tuple(option for option, _ in asked.most_common(TARGETS))
    column = {option: i for i, option in enumerate(options)}
    images = {s.image.sha256: e.image for s, e in zip(samples, examples, strict=True)}
    row = {sha256: i for i, sha256 in enumerate(images)}
    wanted = torch.full((len(images), len(options)), torch.nan)
    for sample in samples:
        for option in sample.options:
            if (at := column.get((sample.task, sample.question, option))) is not None:
                wanted[row[sample.image.sha256], at] = float(option in sample.answer)
    return Answered(tuple(images.values()), options, wanted)


def pooled(policy: PolicyModel, images: Sequence[ImagePatches]) -> Tensor:
    """[N, H * GRID**2]: what the tower makes of each image, averaged over each field of the grid."""
    merge = policy.processor.image_processor.merge_size
    grids = torch.stack([image.grid for image in images])
    patches = torch.cat([image.patches for image in images]).to(policy.network.dtype)
    fields = []
    for cells, grid in zip(encode_patches(policy, patches, grids).embeddings, grids.tolist(), strict=True):
        plane = cells.float().view(grid[1] // merge, grid[2] // merge, -1).permute(2, 0, 1)
        fields.append(nn.functional.adaptive_avg_pool2d(plane, GRID).flatten())
    return torch.stack(fields)
