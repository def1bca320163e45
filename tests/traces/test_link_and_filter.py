"""Linked traces: what they say and cite, and which of them are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fundus_ray.knowledge.records import Record, load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.traces.filter import CONTRADICTING, UNCITED, UNPARSEABLE, UNSUPPORTED, WRONG_ANSWER, reject_reason
from fundus_ray.traces.link import LinkedTrace, link, relations_of
from fundus_ray.types import ImageRef, Modality, Sample

VOCABULARY, RECORDS = load_vocabulary(), load_records()
DR = "diabetic retinopathy"
SAMPLE = Sample(
    id="s",
    image=ImageRef("s.png", "0", 112, 112),
    modality=Modality.CFP,
    question="Which?",
    options=("normal", DR, "glaucoma"),
    answer=(DR,),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p",
)
CITED = {("microaneurysm", DR): "dr#0", ("hard_exudate", DR): "dr#1"}


def trace(*findings: str, sample: Sample = SAMPLE, cited: dict[tuple[str, str], str] = CITED) -> LinkedTrace:
    return link(sample, findings=findings, records=records(sample), cited=cited, vocabulary=VOCABULARY, snapshot="snap")


def records(sample: Sample = SAMPLE) -> list[Record]:
    found = [RECORDS.get(label, sample.modality) for label in sample.answer]
    return [record for record in found if record is not None]


def verdict(one: LinkedTrace, sample: Sample = SAMPLE) -> str:
    return reject_reason(one, sample, records=records(sample), vocabulary=VOCABULARY)


def test_a_trace_names_the_findings_why_they_matter_and_the_label() -> None:
    made = trace("hard_exudate", "microaneurysm")
    assert made.text == (
        "<think>Findings: hard exudates, microaneurysms. Required: microaneurysms. Supportive: hard exudates. "
        "Conclusion: diabetic retinopathy.</think><answer>B</answer>"
    )
    assert [(r.finding, r.role, r.passage_id) for r in made.relations] == [
        ("microaneurysm", "required", "dr#0"),
        ("hard_exudate", "supportive", "dr#1"),
    ]
    assert verdict(made) == ""


def test_a_trace_reads_back_as_what_it_was_made_of() -> None:
    reading = read_chain(trace("hard_exudate", "microaneurysm").text, VOCABULARY)
    assert reading.well_formed
    assert reading.findings == ("hard_exudate", "microaneurysm")
    assert (reading.conclusion, reading.answer) == (DR, "B")


def test_a_finding_in_no_list_is_stated_and_linked_to_nothing() -> None:
    made = trace("microaneurysm", "venous_tortuosity")
    assert ("venous_tortuosity" in made.findings, len(made.relations)) == (True, 1)


def test_without_findings_only_a_label_that_requires_none_is_kept() -> None:
    healthy = replace(SAMPLE, answer=("normal",))
    assert verdict(trace(sample=healthy), healthy) == ""
    assert verdict(trace()) == UNSUPPORTED


def test_each_reason_against_a_trace_is_named() -> None:
    good = trace("microaneurysm")
    assert verdict(replace(good, text=good.text.replace("</think>", ""))) == UNPARSEABLE
    assert verdict(replace(good, text=good.text.replace(">B<", ">C<"))) == WRONG_ANSWER
    assert verdict(trace("microaneurysm", "enlarged_cup")) == CONTRADICTING
    assert verdict(trace("hard_exudate")) == UNSUPPORTED
    assert verdict(trace("microaneurysm", cited={})) == UNCITED
    assert verdict(trace("microaneurysm", cited={("microaneurysm", "glaucoma"): "g#0"})) == UNCITED


def test_one_finding_of_a_group_is_enough_and_counts_as_required() -> None:
    severe = "severe nonproliferative diabetic retinopathy"  # any of: haemorrhages in four quadrants, beading, IRMA
    sample = replace(SAMPLE, options=("normal", severe), answer=(severe,))
    cited = {("irma", severe): "dr#2", ("microaneurysm", severe): "dr#3"}
    made = trace("microaneurysm", "irma", sample=sample, cited=cited)
    assert [(r.finding, r.role) for r in made.relations] == [("irma", "required"), ("microaneurysm", "supportive")]
    assert "Required: intraretinal microvascular abnormalities. Supportive: microaneurysms." in made.text
    assert verdict(made, sample) == ""
    assert verdict(trace("venous_beading", sample=sample, cited=cited), sample) == UNCITED
    assert verdict(trace("microaneurysm", sample=sample, cited=cited), sample) == UNSUPPORTED
    assert verdict(trace("irma", "neovascularisation", sample=sample, cited=cited), sample) == CONTRADICTING


def test_the_text_is_judged_and_not_what_the_trace_says_of_itself() -> None:
    good = trace("microaneurysm")
    assert verdict(replace(good, text=good.text.replace("Findings: ", "Findings: enlarged cup, "))) == CONTRADICTING
    assert verdict(replace(good, text=good.text.replace("microaneurysms", "drusen"))) == UNSUPPORTED


def test_relations_are_of_every_label_with_required_findings_first() -> None:
    both = [r for r in (RECORDS.get(DR, Modality.CFP), RECORDS.get("glaucoma", Modality.CFP)) if r is not None]
    found = relations_of(["hard_exudate", "enlarged_cup", "microaneurysm"], both)
    assert found == [
        ("microaneurysm", DR, "required"),
        ("enlarged_cup", "glaucoma", "required"),
        ("hard_exudate", DR, "supportive"),
    ]


def test_a_relation_without_a_passage_is_no_reason_and_the_finding_is_stated_all_the_same() -> None:
    made = trace("microaneurysm", "hard_exudate", cited={("microaneurysm", DR): "dr#0", ("hard_exudate", DR): ""})
    assert "Supportive" not in made.text
    assert made.findings == ("microaneurysm", "hard_exudate")
    assert verdict(made) == ""


@pytest.mark.parametrize("record", RECORDS.by_key.values(), ids=lambda r: f"{r.label}-{r.modality.value}")
def test_every_records_trace_reads_back_as_its_own_findings(record: Record) -> None:
    sample = replace(SAMPLE, modality=record.modality, options=("something else", record.label), answer=(record.label,))
    findings = record.in_favour
    made = link(
        sample,
        findings=findings,
        records=[record],
        cited={(f, record.label): "p#0" for f in findings},
        vocabulary=VOCABULARY,
        snapshot="snap",
    )
    reading = read_chain(made.text, VOCABULARY)
    assert (reading.findings, reading.denied) == (findings, ())
    assert reject_reason(made, sample, records=[record], vocabulary=VOCABULARY) == ""
