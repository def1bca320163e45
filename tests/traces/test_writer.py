"""Traces: what the writer overlooks, what it concludes, and that they can be read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.traces.writer import Trace, save_traces, write_traces
from fundus_ray.types import Sample

VOCABULARY, RECORDS = load_vocabulary(), load_records()


def write(samples: tuple[Sample, ...], *, drop: float, blind: float, seed: int = 0) -> tuple[Trace, ...]:
    return write_traces(
        samples, vocabulary=VOCABULARY, records=RECORDS, drop_finding=drop, label_blind=blind, seed=seed
    )


def test_a_perfect_writer_states_all_findings_and_the_right_answer(samples: tuple[Sample, ...]) -> None:
    for sample, trace in zip(samples, write(samples, drop=0, blind=0), strict=True):
        reading = read_chain(trace.text, VOCABULARY)
        assert reading.well_formed
        assert set(reading.findings) == set(sample.findings or ())
        assert reading.conclusion == sample.answer[0]
        assert reading.answer == "ABCDEF"[sample.options.index(sample.answer[0])]


def test_the_rate_of_overlooking_is_as_set(samples: tuple[Sample, ...]) -> None:
    many = tuple(replace(s, id=f"{s.id}-{i}") for s in samples for i in range(300))
    stated = sum(len(t.findings) for t in write(many, drop=0.25, blind=0))
    there = sum(len(s.findings or ()) for s in many)
    assert abs(stated / there - 0.75) < 0.03


def test_a_label_blind_writer_concludes_from_what_it_noticed(samples: tuple[Sample, ...]) -> None:
    dr = replace(samples[0], answer=("diabetic retinopathy",), findings=("microaneurysm", "hard_exudate"))
    cases = {
        ("microaneurysm", "hard_exudate"): {"diabetic retinopathy"},
        ("microaneurysm",): {"diabetic retinopathy"},
        # hard exudates support three diseases, but each of them lacks what it requires
        ("hard_exudate",): {"diabetic retinopathy", "age-related macular degeneration", "hypertensive retinopathy"},
        (): {"normal"},  # the only record that requires nothing
    }
    traces = write(tuple(replace(dr, id=str(i)) for i in range(400)), drop=0.5, blind=1)
    concluded: dict[tuple[str, ...], set[str]] = {}
    for trace in traces:
        concluded.setdefault(trace.findings, set()).update(trace.conclusion)
    assert concluded == cases


def test_the_same_sample_gets_the_same_trace_in_whatever_order(samples: tuple[Sample, ...]) -> None:
    forward = {t.sample_id: t for t in write(samples, drop=0.5, blind=0.5)}
    backward = {t.sample_id: t for t in write(samples[::-1], drop=0.5, blind=0.5)}
    assert forward == backward
    other_seed = {t.sample_id: t for t in write(samples, drop=0.5, blind=0.5, seed=1)}
    assert forward != other_seed


def test_without_annotations_the_trace_states_what_the_label_requires(samples: tuple[Sample, ...]) -> None:
    sample = replace(samples[0], findings=None, answer=("retinal vein occlusion",))
    (trace,) = write((sample,), drop=0, blind=0)
    assert trace.findings == ("venous_tortuosity",)


def test_of_a_group_the_trace_states_the_first_and_any_of_it_makes_the_option_fit(samples: tuple[Sample, ...]) -> None:
    severe = "severe nonproliferative diabetic retinopathy"
    moderate = "moderate nonproliferative diabetic retinopathy"
    sample = replace(samples[0], options=(moderate, severe), answer=(severe,), findings=None)
    (trace,) = write((sample,), drop=0, blind=0)
    assert trace.findings == ("severe_haemorrhages",)
    # moderate: no item met, one against: -2; severe: its one group met and none missing: 2 + 1
    seen = replace(sample, findings=("irma",), answer=(moderate,))
    (trace,) = write((seen,), drop=0, blind=1)
    assert trace.conclusion == (severe,)
    # moderate: its group met once, whatever the number, none missing, one supportive: 2 + 1 + 1; severe: 4 supportive
    seen = replace(sample, findings=("hard_exudate", "cotton_wool_spot", "dot_blot_haemorrhage", "microaneurysm"))
    many = tuple(replace(seen, id=str(i)) for i in range(50))
    assert {t.conclusion[0] for t in write(many, drop=0, blind=1)} == {moderate, severe}


def test_free_text_samples_get_no_trace_and_files_hold_one_object_a_line(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    traces = write((replace(samples[0], options=()), samples[1]), drop=0, blind=0)
    assert [t.sample_id for t in traces] == [samples[1].id]
    save_traces(traces, tmp_path / "traces.jsonl")
    (line,) = (tmp_path / "traces.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == traces[0].text
