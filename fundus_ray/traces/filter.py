"""Which traces are fit to learn from: the right answer, readable, cited, and nothing that speaks against it.

In: a trace, its sample, the knowledge. Out: "" where it is kept, else the first reason against it, in the order of
REASONS. Works on any trace in the grammar, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fundus_ray.knowledge.records import Record
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.traces.link import LinkedTrace
from fundus_ray.types import Sample

NO_RECORD, UNPARSEABLE, WRONG_ANSWER = "no_record", "unparseable", "wrong_answer"
CONTRADICTING, UNSUPPORTED, UNCITED = (
    "contradicting_finding",
    "required_finding_not_seen",
    "required_finding_uncited",
)
STALE_REASON = "stale_reason"  # of traces judged again, as are the next three
KEPT = "kept"  # in counts; the verdict itself is ""
SAMPLE_GONE, SAMPLE_CHANGED, NO_REPLY = "sample_gone", "sample_changed", "no_reply"
REASONS = {
    SAMPLE_GONE: "the data has no training sample of this id",
    SAMPLE_CHANGED: "the sample has another image, modality, answer or order of options than the trace was made for",
    NO_RECORD: "the label has no knowledge record in this modality",
    NO_REPLY: "the label had no knowledge record when the trace was made, so the model was not asked",
    UNPARSEABLE: "the model's reply or the chain cannot be read",
    WRONG_ANSWER: "the chain's answer is not the label",
    CONTRADICTING: "a finding that speaks against the label is stated",
    UNSUPPORTED: "no finding that a label's record requires, alone or in a group, is stated",
    UNCITED: "no passage is cited that states a required finding together with its label",
    STALE_REASON: "a reason in the chain rests on a passage or on a role in the record that is no more",
}


def reject_reason(trace: LinkedTrace, sample: Sample, *, records: Sequence[Record], vocabulary: Vocabulary) -> str:
    """`records`: of the sample's labels."""
    reading = read_chain(trace.text, vocabulary)
    if not reading.well_formed or reading.contradictory:
        return UNPARSEABLE
    if set(choose(reading.answer, sample.options) or ()) != set(sample.answer):
        return WRONG_ANSWER
    stated = reading.findings
    allowed = {f for r in records for f in r.in_favour}
    if any(f in r.contradicting for f in stated if f not in allowed for r in records):
        return CONTRADICTING
    needing = [r for r in records if r.decisive]
    if any(not set(stated) & set(r.decisive) for r in needing):
        return UNSUPPORTED
    cited = {(r.finding, r.label) for r in trace.relations}
    if any(not cited & {(f, r.label) for f in r.decisive if f in stated} for r in needing):
        return UNCITED
    return ""


def verdict_table(counts: Mapping[str, int]) -> str:
    """How many traces are kept, and how many are not by which reason. `counts`: traces by verdict, KEPT or a key of
    REASONS."""
    lines = [f"{counts.get(KEPT, 0):6d} of {sum(counts.values())} traces kept"]
    lines += [f"{counts[name]:6d} {name}: {what}" for name, what in REASONS.items() if name in counts]
    return "\n".join(lines)
