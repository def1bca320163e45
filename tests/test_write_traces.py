"""Traces by a served model on real parts: Ray, a vLLM engine, structured output, the knowledge store. The model is tiny
and untrained: asserted is what becomes of its words, not that it sees anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.store import build_store
from fundus_ray.sft.reader import spelled
from fundus_ray.traces.filter import NO_RECORD, REASONS, UNPARSEABLE, verdict_table
from fundus_ray.types import ImageRef, ModelReply, ModelRequest, Sample
from fundus_ray.write_traces import Outcome, TraceWriter, generate_traces


def config_in(folder: Path, *, reader: str = "", **more: str) -> Config:
    settings = ["data.train_samples=8", "data.eval_samples=2", "evaluate.samples=2", f"run.dir={folder}"]
    settings += ["rollout.max_model_len=1024", "loop.stall_s=120", *([f"traces.reader={reader}"] if reader else [])]
    return load(None, [*settings, *(f"{key.replace('__', '.')}={value}" for key, value in more.items())])


@pytest.fixture
async def retriever(tmp_path: Path) -> Retriever:
    return await build_store(load().knowledge, folder=tmp_path)


async def written(sample: Sample, *, reply: str, retriever: Retriever, complete: bool = True) -> Outcome:
    asked: list[tuple[ImageRef, ModelRequest]] = []

    async def read(image: ImageRef, request: ModelRequest) -> ModelReply:
        asked.append((image, request))
        return ModelReply(reply, complete=complete)

    labels = {"diabetic retinopathy", "glaucoma", "normal"}
    writer = TraceWriter(load(), labels=labels, records=load_records(), retriever=retriever, read=read)
    outcome = await writer.write(sample)
    assert all(image == sample.image and sample.answer[0] not in request.user for image, request in asked)
    return outcome


async def test_a_finding_that_was_seen_is_linked_to_the_label_and_cited(
    samples: tuple[Sample, ...], retriever: Retriever
) -> None:
    sample = replace(samples[0], answer=("diabetic retinopathy",), findings=None)
    outcome = await written(sample, reply='{"findings": ["microaneurysms", "hard exudates"]}', retriever=retriever)
    assert outcome.rejected == ""
    (passages,) = await retriever.search(["microaneurysms diabetic retinopathy"], k=5)
    first = outcome.trace.relations[0]
    assert (first.finding, first.role) == ("microaneurysm", "required")
    assert first.passage_id in {p.passage_id for p in passages}
    assert outcome.trace.snapshot == retriever.snapshot


async def test_what_cannot_be_read_or_has_no_record_is_counted_and_not_kept(
    samples: tuple[Sample, ...], retriever: Retriever
) -> None:
    unread = await written(samples[0], reply='{"findings": ["dru', complete=False, retriever=retriever)
    assert (unread.rejected, unread.reply) == (UNPARSEABLE, '{"findings": ["dru')
    unknown = replace(samples[0], options=("space sickness", "normal"), answer=("space sickness",))
    assert (await written(unknown, reply="never asked", retriever=retriever)).rejected == NO_RECORD


def test_an_engine_reads_every_image_once_and_a_second_run_reads_none(tmp_path: Path, tiny_policy: Path) -> None:
    config = config_in(tmp_path, reader=str(tiny_policy), traces__max_tokens="400", rollout__max_model_len="2048")
    folder = generate_traces(config, out=tmp_path / "traces")
    rows = [json.loads(line) for line in (folder.path / "traces.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["sample_id"] for row in rows}) == 8
    assert all(row["rejected"] in {"", *REASONS} for row in rows)
    allowed = {f.name for f in load_records().vocabulary.findings.values()}
    whole = [row["reply"] for row in rows if row["rejected"] != UNPARSEABLE]
    assert whole
    for reply in whole:
        named = json.loads(reply)["findings"]
        assert set(named) <= allowed  # the schema binds even an untrained model
        # The stand-in is taught what it may write to the letter: a blank that the engine forbids would ruin it.
        assert reply == spelled(named)
    assert f"{folder.counts().get('kept', 0)} of 8 traces kept" in verdict_table(folder.counts())
    assert (folder.path / "kept.parquet").is_file()

    logs = sorted((folder.path / "logs").iterdir())
    for log in logs:
        log.unlink()
    again = generate_traces(config, out=tmp_path / "traces")  # starts no engine, so writes no log
    assert again.verdicts == folder.verdicts
    assert list((folder.path / "logs").iterdir()) == []


def test_without_a_reader_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"traces\.reader is empty: give the folder of a multimodal model"):
        generate_traces(config_in(tmp_path), out=tmp_path / "traces")
