"""`fundus-ray traces`: reasoning traces for samples that carry only labels, after Fundus-R1's three stages.

    label -> knowledge record + passages ┐
    image -> findings named by a model   ┴-> linked trace -> verdict -> folder of traces -> export

In: a checked configuration. Out: a folder of traces (traces/store.py), which a second run goes on with.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.data.cache import content_key
from fundus_ray.data.source import load_data
from fundus_ray.errors import ConfigError
from fundus_ray.gather import all_or_first_error
from fundus_ray.knowledge.records import Record, Records
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.store import build_store, records_of
from fundus_ray.reasoning.passage import relation_query, states
from fundus_ray.runtime import start_readers
from fundus_ray.sft.checkpoint import fingerprint
from fundus_ray.sft.reader import train_reader
from fundus_ray.traces.filter import NO_RECORD, UNPARSEABLE, reject_reason
from fundus_ray.traces.link import LinkedTrace, label_records, link, relations_of
from fundus_ray.traces.reader import PROMPT_VERSION, candidates, finding_request, findings_of
from fundus_ray.traces.store import TraceFolder, subject
from fundus_ray.types import Evidence, ImageRef, Modality, ModelReply, ModelRequest, Sample

RECIPE_VERSION = 1  # of made_with: raise it whenever the same replies give other traces or verdicts

Reader = Callable[[ImageRef, ModelRequest], Awaitable[ModelReply]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sample's trace, why it is not kept ("" = it is), and the model's own words."""

    trace: LinkedTrace
    rejected: str
    reply: str


class TraceWriter:
    """Sample in, outcome out. Remembers which passage states which relation: there are few of them."""

    def __init__(
        self, config: Config, *, labels: Collection[str], records: Records, retriever: Retriever, read: Reader
    ) -> None:
        """`labels`: all that the data set asks about."""
        self._traces = config.traces
        self._labels = labels
        self._records = records
        self._vocabulary = records.vocabulary
        self._retriever = retriever
        self._read = read
        self._cited: dict[tuple[str, str], str] = {}
        self._requests: dict[Modality, ModelRequest] = {}

    async def write(self, sample: Sample) -> Outcome:
        """Raises SearchError where the knowledge store is down, WorkerDiedError where the model is, TimeLimitError
        where it does not answer within loop.stall_s."""
        records = label_records(sample, self._records)
        if not records:
            return self._outcome(sample, records=(), findings=(), rejected=NO_RECORD, reply="")
        reply = await self._read(sample.image, self._request(sample.modality))
        findings = findings_of(reply, self._vocabulary)
        if findings is None:
            return self._outcome(sample, records=records, findings=(), rejected=UNPARSEABLE, reply=reply.text)
        await self._cite([(f, label) for f, label, _ in relations_of(findings, records)])
        return self._outcome(sample, records=records, findings=findings, rejected="", reply=reply.text)

    def _request(self, modality: Modality) -> ModelRequest:
        """The same for every image of a modality."""
        if modality not in self._requests:
            names = [self._vocabulary.name(f) for f in candidates(self._records, modality, self._labels)]
            self._requests[modality] = finding_request(
                modality, names, max_findings=self._traces.max_findings, max_tokens=self._traces.max_tokens
            )
        return self._requests[modality]

    def _outcome(
        self, sample: Sample, *, records: Sequence[Record], findings: Sequence[str], rejected: str, reply: str
    ) -> Outcome:
        trace = link(
            sample,
            findings=findings,
            records=records,
            cited=self._cited,
            vocabulary=self._vocabulary,
            snapshot=self._retriever.snapshot,
        )
        rejected = rejected or reject_reason(trace, sample, records=records, vocabulary=self._vocabulary)
        return Outcome(trace=trace, rejected=rejected, reply=reply)

    async def _cite(self, relations: Sequence[tuple[str, str]]) -> None:
        """Search for the relations that no passage is known for yet, in one batch."""
        new = [relation for relation in dict.fromkeys(relations) if relation not in self._cited]
        if not new:
            return
        queries = [relation_query(finding, label, self._vocabulary) for finding, label in new]
        found = await self._retriever.search(queries, k=self._traces.passages)
        for (finding, label), passages in zip(new, found, strict=True):
            self._cited[finding, label] = self._first_that_states(passages, finding=finding, label=label)

    def _first_that_states(self, passages: Sequence[Evidence], *, finding: str, label: str) -> str:
        stating = (p for p in passages if states(p, finding=finding, label=label, vocabulary=self._vocabulary))
        return next((p.passage_id for p in stating), "")


def generate_traces(config: Config, *, out: Path) -> TraceFolder:
    """`fundus-ray traces generate`: the reader, made where it must be, reads the training half into `out`.

    Raises ConfigError where traces.reader is missing or the folder was made with other settings.
    """
    if not config.traces.reader:
        raise ConfigError("traces.reader is empty: give the folder of a multimodal model that vLLM serves, or `tiny`")
    records = records_of(config.knowledge)
    cache_dir = Path(config.run.dir).resolve() / "cache"
    samples = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids).train
    reader = reader_model(config, records=records, cache_dir=cache_dir)
    return read_all(config, samples, reader=reader, records=records, cache_dir=cache_dir, out=out)


def reader_model(config: Config, *, records: Records, cache_dir: Path) -> Path:
    """The folder that traces.reader means."""
    if config.traces.reader == "tiny":
        return train_reader(config, records=records, cache_dir=cache_dir)
    return Path(config.traces.reader).resolve()


def read_all(
    config: Config,
    samples: Sequence[Sample],
    *,
    reader: Path,
    records: Records,
    cache_dir: Path,
    out: Path | None = None,
) -> TraceFolder:
    """Read every sample that the folder has no trace of yet, then export. Returns the closed folder.

    Without `out` it lies in the cache, under a key of all that went into it, so that a stopped run goes on and the next
    one finds it whole. Raises ConfigError where `out` was made with other settings.
    """
    # The point of a trace by a model is that the image carries only its label.
    labelled = [replace(sample, findings=None) for sample in samples]
    return asyncio.run(_generate(config, labelled, reader=reader, records=records, cache_dir=cache_dir, out=out))


async def _generate(
    config: Config, samples: Sequence[Sample], *, reader: Path, records: Records, cache_dir: Path, out: Path | None
) -> TraceFolder:
    labels = sorted({label for sample in samples for label in (*sample.options, *sample.answer)})
    retriever = await build_store(config.knowledge, folder=cache_dir / "knowledge")
    made_with = {
        "reader": str(reader.resolve()),
        "reader_files": fingerprint(reader),
        "arithmetic": config.policy.dtype,
        "recipe": RECIPE_VERSION,
        "snapshot": retriever.snapshot,
        "prompt": PROMPT_VERSION,
        "labels": labels,
        "traces": {"max_findings": config.traces.max_findings, "max_tokens": config.traces.max_tokens},
        "passages": config.traces.passages,
    }
    out = out or cache_dir / f"traces-{_key(made_with, samples)}"
    async with AsyncExitStack() as at_the_end:
        at_the_end.push_async_callback(retriever.close)
        folder = TraceFolder(out, made_with=made_with)
        at_the_end.callback(folder.close)
        todo = [sample for sample in samples if sample.id not in folder.verdicts]
        if todo:
            async with start_readers(config, model_path=reader, log_dir=out / "logs") as pool:
                writer = TraceWriter(config, labels=labels, records=records, retriever=retriever, read=pool.ask)
                await _write_all(writer, todo, folder=folder, at_once=config.rollout.max_seqs * config.rollout.workers)
        folder.export({sample.id: sample for sample in samples})
    return folder


def _key(made_with: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    about = json.dumps([[sample.id, subject(sample)] for sample in samples])
    return content_key(made_with=json.dumps(made_with, sort_keys=True), samples=content_key(samples=about))


async def _write_all(writer: TraceWriter, samples: Sequence[Sample], *, folder: TraceFolder, at_once: int) -> None:
    free = asyncio.Semaphore(at_once)
    with Bar(total=len(samples), desc="reasoning traces", unit="image", mininterval=0.5) as bar:

        async def one(sample: Sample) -> None:
            async with free:
                done = await writer.write(sample)
            folder.add(done.trace, sample, rejected=done.rejected, reply=done.reply)
            bar.update()

        await all_or_first_error([one(sample) for sample in samples])
