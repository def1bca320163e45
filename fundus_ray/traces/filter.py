"""Which traces are fit to learn from: the right answer, readable, cited, and nothing that speaks against it.

In: a trace, its sample, the knowledge. Out: "" where it is kept, else the first reason against it, in the order of
REASONS. Works on any trace in the grammar, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_ray.knowledge.records import Record
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.traces.link import LinkedTrace, relations_of
from fundus_ray.types import Sample

NO_RECORD, UNPARSEABLE, WRONG_ANSWER = "no_record", "unparseable", "wrong_answer"
CONTRADICTING, UNSUPPORTED, UNCITED = (
    "contradicting_finding",
    "no_finding_supports_the_label",
    "relation_without_passage",
)
REASONS = {
    NO_RECORD: "the label has no knowledge record in this modality",
    UNPARSEABLE: "the model's reply or the chain cannot be read",
    WRONG_ANSWER: "the chain's answer is not the label",
    CONTRADICTING: "a finding that speaks against the label is stated",
    UNSUPPORTED: "no finding that the record asks for is stated",
    UNCITED: "a relation from finding to label is in no retrieved passage",
}


def reject_reason(trace: LinkedTrace, sample: Sample, *, records: Sequence[Record], vocabulary: Vocabulary) -> str:
    """`records`: of the sample's labels."""
    reading = read_chain(trace.text, vocabulary)
    if not reading.well_formed or reading.contradictory:
        return UNPARSEABLE
    if set(choose(reading.answer, sample.options) or ()) != set(sample.answer):
        return WRONG_ANSWER
    stated = reading.findings
    allowed = {f for r in records for f in (*r.required, *r.supportive)}
    if any(f in r.contradicting for f in stated if f not in allowed for r in records):
        return CONTRADICTING
    relations = relations_of(stated, records)
    if not relations and any(r.required for r in records):
        return UNSUPPORTED
    cited = {(r.finding, r.label) for r in trace.relations if r.passage_id}
    if any((f, label) not in cited for f, label, _ in relations):
        return UNCITED
    return ""
