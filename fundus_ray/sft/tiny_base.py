"""A tiny policy that fits the samples: its tokenizer knows their words, its image statistics are theirs.

In: samples, knowledge records. Out: a checkpoint folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fundus_ray.config import Config
from fundus_ray.data.images import read_pixels
from fundus_ray.knowledge.records import Records
from fundus_ray.policy.tiny import make_tiny_policy
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Sample

STATISTICS_IMAGES = 256  # images that mean and deviation of the pixels are taken from


def make_base(
    config: Config,
    samples: Sequence[Sample],
    *,
    records: Records,
    folder: Path,
    texts: Sequence[str] = (),
    words: Sequence[str] = (),
) -> None:
    """Write it to `folder`. `texts`: what else the tokenizer should know; `words`: what else is one token."""
    names = finding_names(samples, records)
    side = (config.data.image_px, config.data.image_px)
    images = [read_pixels(s.image).resize(side) for s in samples[:STATISTICS_IMAGES]]
    pixels = np.stack([np.asarray(image) for image in images]) / 255.0
    make_tiny_policy(
        folder,
        texts=[*_tokenizer_texts(samples, names), *texts],
        phrases=[*(o for s in samples for o in s.options), *names],
        image_px=config.data.image_px,
        image_mean=pixels.mean(axis=(0, 1, 2)).tolist(),
        image_std=pixels.std(axis=(0, 1, 2)).tolist(),
        seed=config.run.seed,
        words=words,
    )


def finding_names(samples: Sequence[Sample], records: Records) -> list[str]:
    """What chains about these samples may state: findings annotated on them, and those of their options' records."""
    asked = {(option, sample.modality) for sample in samples for option in sample.options}
    known = [r for r in (records.get(*key) for key in asked) if r is not None]
    ids = {f for s in samples for f in s.findings or ()} | {f for r in known for f in r.in_favour}
    return sorted(map(records.vocabulary.name, ids))


def _tokenizer_texts(samples: Sequence[Sample], names: Sequence[str]) -> Iterator[str]:
    """What the tokenizer learns its words from: prompts, chains, the words of chat turns.

    No answer's letter stands between its tags here, so that `>B` stays two tokens and the letter of an answer is the
    token of the option's letter.
    """
    for sample in samples[:512]:
        prompt = build_prompt(sample, group_id=0, seed=0)
        yield prompt.system
        yield prompt.user
        yield "system\nuser\nassistant\n"
        for name in names:
            yield f"<think>Findings: {name}, {name}. Conclusion: {sample.answer[0]}.</think><answer>"
        yield "<think>Findings: none.</think><answer></answer>"
