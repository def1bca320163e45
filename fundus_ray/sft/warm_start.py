"""From a checkpoint, or from nothing, to the base weights of policy version 0.

In: the configuration and training samples. Out: a checkpoint folder. It is kept under the cache folder by the content
of all that went into it, so that the next run with the same settings starts at once.

    policy.path, the reader, or a tiny policy -> vision warm-up -> training on traces -> POLICY-<key>/v0
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.config.policy import NO_FOLDER
from fundus_ray.data.balanced import BalancedOrder
from fundus_ray.data.cache import content_key
from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import Records
from fundus_ray.policy.load import PolicyModel, load_policy
from fundus_ray.sft.answer_warmup import answer_warmup
from fundus_ray.sft.batch import ImagePatches, SftExample, cut_image, make_example
from fundus_ray.sft.checkpoint import TRAINED, fingerprint, save_policy, trained_once
from fundus_ray.sft.lesion_warmup import lesion_warmup
from fundus_ray.sft.tiny_base import finding_names, make_base
from fundus_ray.sft.train import reshuffled, train_on_examples
from fundus_ray.traces.store import kept_traces
from fundus_ray.traces.writer import Trace, bare_answers, save_traces, write_traces
from fundus_ray.types import Sample

RECIPE_VERSION = 5  # part of the cache key: raise it whenever the same settings give other weights


def warm_start(
    config: Config, samples: Sequence[Sample], *, records: Records, cache_dir: Path, reader: Path | None = None
) -> Path:
    """The folder with version 0's base weights; policy.path itself where there is nothing to train.

    `reader`: the model that policy.path=reader stands for. Raises ConfigError where policy.path cannot be loaded,
    DataError where an image cannot be read.
    """
    given = reader if config.policy.path == "reader" else Path(config.policy.path)
    assert given is not None, "policy.path=reader needs the reader"
    if not config.sft.steps:
        return given
    traces = traces_of(config, samples, records=records)
    folder = cache_dir / f"policy-{_key(config, samples, traces, given=given, records=records)}"
    return trained_once(folder, lambda part: _train(config, samples, traces, given=given, records=records, folder=part))


def traces_of(config: Config, samples: Sequence[Sample], *, records: Records) -> tuple[Trace, ...]:
    """The kept traces of sft.traces that are about these samples, or a simulated one for each sample; of each no more
    than its sample's answer where sft.target=answers.

    Raises DataError where there is none.
    """
    traces = _written_traces(config, samples, records=records)
    return bare_answers(traces, samples) if config.sft.target == "answers" else traces


def _written_traces(config: Config, samples: Sequence[Sample], *, records: Records) -> tuple[Trace, ...]:
    if config.sft.traces:
        by_id = {sample.id: sample for sample in samples}
        place = {sample.id: i for i, sample in enumerate(samples)}  # the order of writing depends on who was quicker
        kept = sorted(kept_traces(Path(config.sft.traces), by_id), key=lambda trace: place[trace.sample_id])
        found = tuple(Trace(t.sample_id, t.text, t.findings, t.conclusion) for t in kept)
        tqdm.write(f"   {len(found)} of {len(samples)} training samples have a kept trace in {config.sft.traces}")
        if not found:
            raise DataError(
                f"sft.traces={config.sft.traces}: no kept trace there is about a training sample of this run"
            )
        return found
    traces = write_traces(
        samples,
        vocabulary=records.vocabulary,
        records=records,
        drop_finding=config.sft.drop_finding,
        label_blind=config.sft.label_blind,
        seed=config.run.seed,
    )
    if not traces:
        raise DataError("no training sample has options, so no trace can be written; set sft.steps=0")
    return traces


def trace_examples(samples: Sequence[Sample], traces: Sequence[Trace], *, processor: Any) -> list[SftExample]:
    """Samples and their traces as tokens and patches."""
    by_id = {s.id: s for s in samples}
    images: dict[str, ImagePatches] = {}
    examples = []
    for trace in Bar(traces, desc="tokens and patches", unit="trace", mininterval=1.0):
        sample = by_id[trace.sample_id]
        if sample.image.sha256 not in images:
            images[sample.image.sha256] = cut_image(processor, sample.image)
        examples.append(make_example(processor, sample, trace=trace, image=images[sample.image.sha256]))
    return examples


def _train(
    config: Config, samples: Sequence[Sample], traces: Sequence[Trace], *, given: Path, records: Records, folder: Path
) -> None:
    base = given
    if config.policy.path == "tiny":  # its tokenizer and image statistics fit the samples
        base = folder / "base"
        make_base(config, samples, records=records, folder=base)
    device = "cuda" if config.learner.gpus else "cpu"
    policy = load_policy(base, dtype=config.policy.dtype, device=device)
    examples = trace_examples(samples, traces, processor=policy.processor)
    folder.mkdir(parents=True, exist_ok=True)
    save_traces(traces, folder / "traces.jsonl")
    by_id = {sample.id: sample for sample in samples}
    shown = [by_id[trace.sample_id] for trace in traces]  # in the examples' order
    losses: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for name, stage in _stages(config, policy, shown, examples=examples):
        started = time.perf_counter()
        losses[name] = stage()
        seconds[name] = time.perf_counter() - started
    save_policy(policy, folder / TRAINED)
    (folder / "sft.json").write_text(json.dumps({"seconds": seconds, "losses": losses}))


def _stages(
    config: Config, policy: PolicyModel, samples: Sequence[Sample], *, examples: Sequence[SftExample]
) -> Iterator[tuple[str, Callable[[], list[float]]]]:
    sft = config.sft
    if sft.vision_warmup_steps and config.policy.path != "reader":  # the reader has had its own
        warmup = lesion_warmup if config.data.source == "phantoms" else answer_warmup
        yield "vision warm-up", lambda: warmup(config, policy, samples, examples=examples)
    name = "training on traces"
    rows = training_rows(config, samples)
    yield (
        name,
        lambda: train_on_examples(
            config, policy, examples, steps=sft.steps, learning_rate=sft.learning_rate, name=name, rows=rows
        ),
    )


def training_rows(config: Config, samples: Sequence[Sample]) -> Iterator[int]:
    """Which of the samples comes next, without end, in the order of `data.order`."""
    if config.data.order == "balanced":
        return map(BalancedOrder(samples, seed=config.run.seed).row_at, itertools.count())
    return reshuffled(len(samples), seed=config.run.seed)


def _key(config: Config, samples: Sequence[Sample], traces: Sequence[Trace], *, given: Path, records: Records) -> str:
    asked = [
        [s.id, s.image.sha256, s.modality.value, s.task, s.question, list(s.options), list(s.answer)] for s in samples
    ]
    made = config.policy.path if config.policy.path in NO_FOLDER else "given"
    return content_key(
        recipe=RECIPE_VERSION,
        seed=config.run.seed,
        sft=str(astuple(replace(config.sft, traces=""))),  # the traces themselves are below
        policy=f"{made}:{fingerprint(given)}:{config.policy.dtype}",
        names=",".join(finding_names(samples, records)) if made == "tiny" else "",
        image_px=config.data.image_px,
        order=config.data.order,
        lesion_maps=str(config.data.source == "phantoms"),
        samples=content_key(samples=json.dumps(asked)),
        traces=content_key(traces=json.dumps([[trace.sample_id, trace.text] for trace in traces])),
        torch=torch.__version__,
    )
