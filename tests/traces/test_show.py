"""A trace as a clinician reads it."""

from __future__ import annotations

from dataclasses import replace

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.traces.filter import CONTRADICTING
from fundus_ray.traces.link import LinkedTrace, Relation
from fundus_ray.traces.show import readable
from fundus_ray.traces.store import StoredTrace, subject
from fundus_ray.types import Sample

VOCABULARY = load_vocabulary()
PASSAGE = Passage("dr#1", "Diabetic retinopathy", "Signs", "Microaneurysms come first. " + "more " * 200, "s", "", "l")


def stored(sample: Sample, *, passage: str = "dr#1", rejected: str = "") -> StoredTrace:
    trace = LinkedTrace(
        sample_id=sample.id,
        text="<think>Findings: microaneurysms. Conclusion: diabetic retinopathy.</think><answer>B</answer>",
        findings=("microaneurysm",),
        conclusion=("diabetic retinopathy",),
        relations=(Relation("microaneurysm", "diabetic retinopathy", "required", passage),),
        snapshot="snap",
    )
    return StoredTrace(trace=trace, about=subject(sample), rejected=rejected, reply="{}")


def shown(one: StoredTrace, sample: Sample | None) -> list[str]:
    return readable(one, sample, passages={"dr#1": PASSAGE}, vocabulary=VOCABULARY).splitlines()


def test_everything_that_a_reader_needs_is_there(samples: tuple[Sample, ...]) -> None:
    lines = shown(stored(samples[0]), samples[0])
    assert lines[:4] == [
        f"trace of {samples[0].id}",
        f"  image    {samples[0].image.path} (CFP)",
        f"  label    {samples[0].answer[0]}",
        "  verdict  kept",
    ]
    assert lines[4].startswith("  chain    <think>Findings: microaneurysms.")
    at = lines.index("  reason   microaneurysms (required for diabetic retinopathy), by dr#1:")
    assert lines[at + 1] == "           Diabetic retinopathy, section 'Signs'"
    assert lines[at + 2].startswith('           "Microaneurysms come first. more')
    assert lines[-1].endswith(' ..."')
    assert max(map(len, lines)) <= max(110, len(lines[1]))


def test_a_trace_that_is_not_kept_says_why_in_words(samples: tuple[Sample, ...]) -> None:
    lines = shown(stored(samples[0], rejected=CONTRADICTING), samples[0])
    assert "  verdict  not kept, a finding that speaks against the label is stated" in lines


def test_what_is_not_there_any_more_is_said(samples: tuple[Sample, ...]) -> None:
    one = stored(samples[0], passage="gone#0")
    assert "           this passage is not in the knowledge any more" in shown(one, samples[0])
    assert "image    not among the samples any more" in shown(one, None)[1]
    changed = replace(samples[0], image=replace(samples[0].image, sha256="other"))
    assert "image    not among the samples any more" in shown(one, changed)[1]


def test_a_trace_without_reasons_says_so(samples: tuple[Sample, ...]) -> None:
    one = stored(samples[0])
    assert shown(replace(one, trace=replace(one.trace, relations=())), samples[0])[-1] == "  reasons  none"
