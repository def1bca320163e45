"""Traces judged again: by other records, other passages, other data; and nothing is lost of them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fundus_ray.cli import main
from fundus_ray.config import Config, load
from fundus_ray.data.source import load_data
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.filter_traces import filter_traces
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.store import build_store
from fundus_ray.obs.sole_writer import sole_writer
from fundus_ray.traces.filter import (
    CONTRADICTING,
    NO_RECORD,
    NO_REPLY,
    SAMPLE_CHANGED,
    SAMPLE_GONE,
    UNCITED,
    UNPARSEABLE,
)
from fundus_ray.traces.store import TraceFolder
from fundus_ray.types import ImageRef, ModelReply, ModelRequest, Sample
from fundus_ray.write_traces import TraceWriter

SAMPLES = 8
LABEL, SEEN = "glaucoma", "enlarged_cup"
NEW_RECORD = f"""
record:
  label: {LABEL}
  sources: [a test]
  modalities:
    CFP: {{required: [drusen], supportive: [], contradicting: [{SEEN}], rule: Not so.}}
"""


def config_in(folder: Path, *more: str) -> Config:
    settings = [f"data.train_samples={SAMPLES}", "data.eval_samples=2", "evaluate.samples=2", f"run.dir={folder}"]
    return load(None, [*settings, *more])


def training_samples(config: Config) -> tuple[Sample, ...]:
    cache_dir = Path(config.run.dir).resolve() / "cache"
    return tuple(load_data(config, cache_dir=cache_dir, finding_ids=load_records().vocabulary.ids).train)


async def write_all(config: Config, out: Path) -> None:
    """As `traces generate`, by a reader that names what the label requires."""
    records, samples = load_records(), training_samples(config)
    label_of = {sample.image.path: sample.answer[0] for sample in samples}

    async def read(image: ImageRef, request: ModelRequest) -> ModelReply:
        record = records.get(label_of[image.path], samples[0].modality)
        assert record is not None
        needed = (*record.required, *(group[0] for group in record.any_of))
        return ModelReply(json.dumps({"findings": [records.vocabulary.name(f) for f in needed]}), complete=True)

    retriever = await build_store(config.knowledge, folder=out.parent / "store")
    writer = TraceWriter(config, labels=samples[0].options, records=records, retriever=retriever, read=read)
    folder = TraceFolder(out, made_with={"snapshot": retriever.snapshot})
    for sample in samples:
        done = await writer.write(sample)
        folder.add(done.trace, sample, rejected=done.rejected, reply=done.reply)
    folder.export({sample.id: sample for sample in samples})
    folder.close()


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A folder of traces, all of them kept."""
    out = tmp_path / "traces"
    asyncio.run(write_all(config_in(tmp_path), out))
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]


def with_rows(folder: Path, changed: list[dict[str, Any]]) -> None:
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))


def kept(folder: Path) -> int:
    return len((folder / "kept.jsonl").read_text().splitlines())


def test_the_same_knowledge_gives_the_same_verdicts_and_export(traces: Path, tmp_path: Path) -> None:
    before, export = rows(traces), (traces / "kept.jsonl").read_bytes()
    done = filter_traces(config_in(tmp_path), folder=traces)
    assert (done.counts, done.changed, done.unmatched, done.shown) == ({"kept": SAMPLES}, 0, (), ())
    assert rows(traces) == [{**row, "judged_with": row["snapshot"]} for row in before]
    assert (traces / "kept.jsonl").read_bytes() == export


def test_another_record_turns_traces_down_and_the_old_one_takes_them_back(traces: Path, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "new.yaml").write_text(NEW_RECORD)
    concerned = [row["sample_id"] for row in rows(traces) if SEEN in row["findings"]]
    assert 0 < len(concerned) < SAMPLES
    done = filter_traces(config_in(tmp_path, f"knowledge.records_dir={tmp_path}/records"), folder=traces)
    assert done.counts == {"kept": SAMPLES - len(concerned), CONTRADICTING: len(concerned)}
    assert done.changed == len(concerned)
    assert [row["sample_id"] for row in rows(traces) if row["rejected"]] == concerned
    assert all(row["judged_with"] != row["snapshot"] for row in rows(traces))
    assert kept(traces) == SAMPLES - len(concerned)
    assert filter_traces(config_in(tmp_path), folder=traces).counts == {"kept": SAMPLES}
    assert kept(traces) == SAMPLES


@pytest.mark.parametrize("passage", ["no_such_passage#0", "drusen#0"], ids=["gone", "speaks-of-something-else"])
def test_a_citation_counts_only_while_its_passage_states_the_relation(
    traces: Path, tmp_path: Path, passage: str
) -> None:
    stored = rows(traces)
    cited = next(row for row in stored if SEEN in row["findings"])
    for relation in cited["relations"]:
        relation["passage_id"] = passage
    with_rows(traces, stored)
    assert filter_traces(config_in(tmp_path), folder=traces).counts == {"kept": SAMPLES - 1, UNCITED: 1}


def test_traces_whose_sample_is_gone_or_changed_are_named_counted_and_stay(traces: Path, tmp_path: Path) -> None:
    stored = rows(traces)
    stored[0]["sample_id"] = "elsewhere"
    stored[1]["about"]["image"] = "0" * 64
    stored[2]["about"]["options"].reverse()
    with_rows(traces, stored)
    done = filter_traces(config_in(tmp_path), folder=traces, show=SAMPLES)
    assert done.counts == {"kept": SAMPLES - 3, SAMPLE_GONE: 1, SAMPLE_CHANGED: 2}
    assert [line.split(":")[0] for line in done.unmatched] == [row["sample_id"] for row in stored[:3]]
    assert "no training sample of this id" in done.unmatched[0]
    assert ["not among the samples any more" in text for text in done.shown] == [True] * 2 + [False] * (SAMPLES - 2)
    assert [row["text"] for row in rows(traces)] == [row["text"] for row in stored]
    assert kept(traces) == SAMPLES - 3


def test_other_data_is_refused_before_anything_is_written(traces: Path, tmp_path: Path) -> None:
    before = (traces / "traces.jsonl").read_bytes()
    with pytest.raises(
        DataError, match=rf"{traces}: none of its 8 traces is of a training sample .* give the --config"
    ):
        filter_traces(config_in(tmp_path, "run.seed=7"), folder=traces)
    assert (traces / "traces.jsonl").read_bytes() == before


def test_a_trace_without_a_readable_reply_is_not_taken_for_one_without_findings(traces: Path, tmp_path: Path) -> None:
    stored = rows(traces)
    healthy = next(row for row in stored if row["about"]["answer"] == ["normal"])
    assert healthy["findings"] == []
    outcomes = {"": NO_REPLY, '{"findings": ["dru': UNPARSEABLE, '{"findings": ["drusen"]}': UNPARSEABLE}
    for reply, expected in outcomes.items():
        healthy["reply"] = reply
        with_rows(traces, stored)
        assert filter_traces(config_in(tmp_path), folder=traces).counts == {"kept": SAMPLES - 1, expected: 1}


def test_a_label_without_a_record_is_turned_down(traces: Path, tmp_path: Path) -> None:
    (stored, *_), (sample, *_) = rows(traces), training_samples(config_in(tmp_path))
    asked = {"question": "Which?", "options": ["space sickness", "normal"], "answer": "space sickness"}
    row = {"id": sample.id, "image": sample.image.path, "modality": "CFP", "split": "train", **asked}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    stored["about"] |= {"options": asked["options"], "answer": [asked["answer"]]}
    with_rows(traces, [stored])
    own = ["data.source=jsonl", f"data.path={tmp_path}/rows.jsonl", "evaluate.samples=0", "sft.vision_warmup_steps=0"]
    assert filter_traces(load(None, [*own, f"run.dir={tmp_path}"]), folder=traces).counts == {NO_RECORD: 1}


def test_a_crash_leaves_the_old_verdicts(traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (traces / "traces.jsonl").read_bytes()

    def crash(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="no space left"):
        filter_traces(config_in(tmp_path), folder=traces)
    assert (traces / "traces.jsonl").read_bytes() == before


def test_a_folder_that_is_being_written_to_is_refused(traces: Path, tmp_path: Path) -> None:
    with sole_writer(traces), pytest.raises(ConfigError, match=f"{traces}: another process is writing to it"):
        filter_traces(config_in(tmp_path), folder=traces)


def test_the_command_prints_the_table_and_traces_to_read(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["traces", "filter", str(traces), "--show", "2", f"data.train_samples={SAMPLES}", "data.eval_samples=2"]
    assert main([*words, f"run.dir={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("trace of ") == 2
    for row in (rows(traces)[0], rows(traces)[SAMPLES // 2]):  # from all over the folder
        assert f"trace of {row['sample_id']}\n" in shown
        assert row["about"]["answer"][0] in shown
    assert f"{SAMPLES} of {SAMPLES} traces kept\n0 verdicts changed\n" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["traces", "filter", "no/such"], "no/such is not a folder of traces: it has no traces.jsonl"),
        (["traces", "filter", "no/such", "--show", "-1"], "--show=-1 is not allowed: must be >= 0"),
    ],
)
def test_bad_input_of_the_command_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
