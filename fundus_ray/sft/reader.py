"""A stand-in for the generic multimodal model: a tiny one, taught on other phantoms to name findings.

In: the configuration, a base policy. Out: a checkpoint folder that vLLM serves as traces.reader. What it has learned
stands for what such a model has seen elsewhere: its phantoms are nobody's training or held-out images, and of the
images that it will read it knows no label and no annotation. As such a model, it has been told of conspicuous lesions
only, and overlooks the faint ones: the traces that it writes are of clear cases, and that is what a verifiable reward,
which needs no trace, can mend.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fundus_ray.config import Config
from fundus_ray.data.cache import content_key
from fundus_ray.data.rendered.phantoms import DISEASES, phantom_samples, seed_of, severities
from fundus_ray.knowledge.records import Records
from fundus_ray.policy.load import load_policy
from fundus_ray.reasoning.chain import compose, reasons
from fundus_ray.sft.batch import cut_image, encode_example
from fundus_ray.sft.checkpoint import TRAINED, save_policy, trained_once
from fundus_ray.sft.lesion_warmup import lesion_warmup
from fundus_ray.sft.tiny_base import make_base
from fundus_ray.sft.train import reshuffled, train_on_examples
from fundus_ray.traces.reader import PROMPT_VERSION, candidates, finding_request
from fundus_ray.types import Modality, ModelRequest, Prompt, Sample

# Above every run.seed, so that its phantoms are in no run's data; the same for every run, as a model that one is given.
SEED = 2**22 + 1
CONSPICUOUS = 0.5  # from this severity on a finding is named to it
RECIPE_VERSION = 5  # part of the cache key: raise it whenever the same settings give other weights


def train_reader(config: Config, *, records: Records, cache_dir: Path) -> Path:
    """The reader's folder, made or taken from the cache. For phantoms only."""
    samples = phantom_samples(
        cache_dir,
        image_px=config.data.image_px,
        seed=SEED,
        sizes={"train": config.traces.reader_samples, "eval": 1},
    )[:-1]
    names = [records.vocabulary.name(f) for f in candidates(records, Modality.CFP, DISEASES)]
    request = finding_request(
        Modality.CFP, names, max_findings=config.traces.max_findings, max_tokens=config.traces.max_tokens
    )
    key = content_key(
        recipe=RECIPE_VERSION,
        prompt=f"{PROMPT_VERSION}:{request.user}",
        samples=content_key(samples="".join(s.image.sha256 for s in samples)),
        steps=f"{config.traces.reader_steps}:{config.sft.vision_warmup_steps}:{config.sft.batch_size}",
        rate=str(config.sft.learning_rate),
        arithmetic=f"{config.sft.bf16}:{config.policy.dtype}:{torch.__version__}",
    )
    return trained_once(
        cache_dir / f"reader-{key}",
        lambda part: _train(config, samples, request, names=names, records=records, folder=part),
    )


def reply_of(sample: Sample, records: Records, *, allowed: Sequence[str]) -> str:
    """What a model that sees all that is conspicuous would reply of a phantom."""
    severity = severities(seed_of(sample))
    names = [records.vocabulary.name(f) for f in sample.findings or () if severity[f] >= CONSPICUOUS]
    return spelled([name for name in names if name in allowed])


def spelled(names: Sequence[str]) -> str:
    """The reply that names these, to the letter as the engine's schema spells it: without blanks."""
    return json.dumps({"findings": list(names)}, separators=(",", ":"))


def _train(
    config: Config,
    samples: Sequence[Sample],
    request: ModelRequest,
    *,
    names: Sequence[str],
    records: Records,
    folder: Path,
) -> None:
    config = replace(config, run=replace(config.run, seed=SEED))
    replies = [reply_of(sample, records, allowed=names) for sample in samples]
    base = folder / "base"
    chain = compose(findings=names, reasons=reasons(required=names, supportive=names), conclusion="", letters=[])
    texts = [request.system, request.user, chain, *replies]  # the chain's: a policy may start from the reader
    make_base(config, samples, records=records, folder=base, texts=texts, words=[json.dumps(name) for name in names])
    policy = load_policy(base, dtype=config.policy.dtype, device="cuda" if config.learner.gpus else "cpu")
    prompts = [Prompt(sample=s, system=request.system, user=request.user, group_id=0, seed=0) for s in samples]
    processor = policy.processor
    examples = [
        encode_example(processor, p, text=r, image=cut_image(processor, p.sample.image))
        for p, r in zip(prompts, replies, strict=True)
    ]
    if config.sft.vision_warmup_steps:
        lesion_warmup(config, policy, samples, examples=examples)
    train_on_examples(
        config,
        policy,
        examples,
        steps=config.traces.reader_steps,
        learning_rate=config.sft.learning_rate,
        name="teaching the reader",
        rows=reshuffled(len(examples), seed=SEED),
    )
    save_policy(policy, folder / TRAINED)
