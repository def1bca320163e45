"""What does the image tell? What a vision tower made from scratch learns from answers alone, where no lesion is drawn.

In: training samples. Out: the policy, trained in place. A set asks many questions of each image, and a chain carries
one of them in a few of its tokens; here one look at the image is told the answers to all. Our own choice.

    image -> tower -> its cells, pooled to a coarse grid -> a throw-away linear head -> every option of every question
"""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

GRID = 4  # of GRID x GRID fields; where a sign lies is half of what is asked
TARGETS = 4096  # options that most images are asked about: bounds the head, which is thrown away
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
    if not told.images:
        raise DataError(
            "no sample has options, so the vision tower has no answers to learn; set sft.vision_warmup_steps=0"
        )
    head = nn.Linear(policy.network.config.vision_config.out_hidden_size * GRID**2, len(told.options)).to(policy.device)
    weights = weights_of(told.wanted).to(policy.device)
    rng = np.random.default_rng(config.run.seed)

    def loss_of_next() -> Tensor:
        rows = rng.integers(0, len(told.images), size=config.sft.batch_size).tolist()
        logits = head(pooled(policy, [told.images[row] for row in rows])).float()
        return balanced_loss(logits, told.wanted[rows].to(policy.device), weights=weights)

    return train_tower(config, policy, head, loss_of_next)


def weights_of(wanted: Tensor) -> Tensor:
    """[2, C]: what a wrong (row 0) and a right option (row 1) weigh, so that both sides weigh the same over all images,
    as far as RAREST allows."""
    share = wanted.nanmean(0).clamp(RAREST, 1 - RAREST)
    return torch.stack([0.5 / (1 - share), 0.5 / share])


def balanced_loss(logits: Tensor, wanted: Tensor, *, weights: Tensor) -> Tensor:
    """Weighted mean binary cross-entropy [nats] over what was asked; at least one option must have been."""
    right = wanted.nan_to_num()
    weight = torch.where(right > 0, weights[1], weights[0]) * ~wanted.isnan()
    losses = nn.functional.binary_cross_entropy_with_logits(logits, right, reduction="none")
    return (losses * weight).sum() / weight.sum()


def answered(samples: Sequence[Sample], *, examples: Sequence[SftExample]) -> Answered:
    """Images, each once, with the options of all its questions; samples and examples go together one by one.

    Images that are asked about none of the kept options are left out, and an option that is both right and wrong by
    two rows counts as not asked; both are counted in a line of the log.
    """
    check_pairs(samples, examples)
    asked = Counter((s.task, s.question, option) for s in samples for option in s.options)
    options = tuple(option for option, _ in asked.most_common(TARGETS))
    column = {option: i for i, option in enumerate(options)}
    cells: dict[str, dict[int, float]] = {}
    for sample in samples:
        own = cells.setdefault(sample.image.sha256, {})
        for option in sample.options:
            if (at := column.get((sample.task, sample.question, option))) is not None:
                right = float(option in sample.answer)
                own[at] = right if own.get(at, right) == right else torch.nan
    contradicted = sum(right != right for own in cells.values() for right in own.values())  # NaN
    told = {sha256: own for sha256, own in cells.items() if any(right == right for right in own.values())}  # not NaN
    if contradicted or len(told) < len(cells):
        log.warning(
            "the vision warm-up leaves out %d of %d images, none of whose options is among the %d commonest, and %d "
            "options that one row calls right and another wrong",
            len(cells) - len(told),
            len(cells),
            len(options),
            contradicted,
        )
    image_of = {s.image.sha256: e.image for s, e in zip(samples, examples, strict=True)}
    wanted = torch.full((len(told), len(options)), torch.nan)
    for row, own in enumerate(told.values()):
        wanted[row, list(own)] = torch.tensor(list(own.values()))
    return Answered(tuple(image_of[sha256] for sha256 in told), options, wanted)


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
