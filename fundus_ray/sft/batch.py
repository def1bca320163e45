"""Token rows for supervised training.

In: samples with their traces. Out: `SftRows`, right-padded, with the image's patches or none.
Shapes: N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fundus_ray.data.images import read_pixels
from fundus_ray.policy.load import expand_image_token, preprocess_images, prompt_text
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.traces.writer import Trace
from fundus_ray.types import ImageRef, Prompt, Sample


@dataclass(frozen=True, slots=True)
class ImagePatches:
    """One image, cut up. All examples of the image hold the same one: a set asks many questions of each."""

    patches: Tensor  # [t*h*w, 1176] bfloat16: halves the memory, and the warm start trains in bfloat16 anyway
    grid: Tensor  # [3]


@dataclass(frozen=True, slots=True)
class SftExample:
    """One sample and its trace as tokens, with the image already cut into patches."""

    prompt_ids: tuple[int, ...]  # [P] image placeholder expanded
    completion_ids: tuple[int, ...]  # [C] ends with the end-of-turn token
    image: ImagePatches


@dataclass(frozen=True, slots=True)
class SftRows:
    """A batch."""

    token_ids: Tensor  # [N, T] int64
    prompt_lens: Tensor  # [N]
    seq_lens: Tensor  # [N]
    patches: Tensor  # [sum of t*h*w, 1176]
    grids: Tensor  # [N, 3]


def cut_image(processor: Any, image: ImageRef) -> ImagePatches:
    """Raises DataError where the image cannot be read."""
    patches, grids = preprocess_images(processor, [read_pixels(image)])
    return ImagePatches(patches.to(torch.bfloat16), grids[0])


def make_example(processor: Any, sample: Sample, *, trace: Trace, image: ImagePatches) -> SftExample:
    """The sample's own prompt and the trace."""
    return encode_example(processor, build_prompt(sample, group_id=0, seed=0), text=trace.text, image=image)


def encode_example(processor: Any, prompt: Prompt, *, text: str, image: ImagePatches) -> SftExample:
    """Any prompt and the reply to it."""
    image_tokens = int(image.grid.prod()) // processor.image_processor.merge_size**2
    ids = processor.tokenizer(prompt_text(processor, prompt))["input_ids"]
    return SftExample(
        prompt_ids=tuple(expand_image_token(ids, image_token_id=processor.image_token_id, count=image_tokens)),
        completion_ids=completion_ids(processor, text),
        image=image,
    )


def check_pairs(samples: Sequence[Sample], examples: Sequence[SftExample]) -> None:
    """Raises ValueError where they cannot go together one by one."""
    if len(samples) != len(examples):
        raise ValueError(f"{len(samples)} samples do not go with {len(examples)} examples: one each, in one order")


def completion_ids(processor: Any, text: str) -> tuple[int, ...]:
    """A chain as the policy should write it: its tokens and the end of the turn."""
    return (*processor.tokenizer(text)["input_ids"], processor.tokenizer.convert_tokens_to_ids("<|im_end|>"))


def collate(examples: Sequence[SftExample], *, pad_id: int) -> SftRows:
    """Right-pad to the longest row."""
    rows = [(e.prompt_ids, e.completion_ids) for e in examples]
    token_ids = np.full((len(rows), max(len(p) + len(c) for p, c in rows)), pad_id, dtype=np.int64)
    for i, (prompt, completion) in enumerate(rows):
        token_ids[i, : len(prompt) + len(completion)] = [*prompt, *completion]
    return SftRows(
        token_ids=torch.from_numpy(token_ids),
        prompt_lens=torch.tensor([len(p) for p, _ in rows]),
        seq_lens=torch.tensor([len(p) + len(c) for p, c in rows]),
        patches=torch.cat([e.image.patches for e in examples]),
        grids=torch.stack([e.image.grid for e in examples]),
    )
