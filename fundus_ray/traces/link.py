"""From what was seen to why it means the label: a reasoning trace out of findings, a knowledge record and passages.

In: a sample with its label, the findings that a model named, the label's record, a passage for each relation. Out:
`LinkedTrace`, in the grammar of `reasoning/`, with a citation for each relation (after Fundus-R1's third stage).

The citations stand beside the text and not in it: the policy that learns from the text has no passages before it, and
would learn to make numbers up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_ray.knowledge.records import Record, Records
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.chain import compose, reasons
from fundus_ray.reasoning.prompt import answer_letters
from fundus_ray.types import Sample


@dataclass(frozen=True, slots=True)
class Relation:
    """A finding that speaks for a label, by its record, and the passage that says so."""

    finding: str
    label: str
    role: str  # "required" (also by an any_of group) | "supportive"
    passage_id: str


@dataclass(frozen=True, slots=True)
class LinkedTrace:
    """A trace, with what it rests on."""

    sample_id: str
    text: str
    findings: tuple[str, ...]
    conclusion: tuple[str, ...]  # option texts
    relations: tuple[Relation, ...]
    snapshot: str  # of the knowledge


def label_records(sample: Sample, records: Records) -> tuple[Record, ...]:
    """The records of all its labels in its modality; none where one is missing."""
    found = [records.get(label, sample.modality) for label in sample.answer]
    known = tuple(record for record in found if record is not None)
    return known if len(known) == len(found) else ()


def relations_of(findings: Sequence[str], records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """(finding, label, role) of every finding that a record asks for, required ones first, with those of its groups."""
    found = []
    for record in records:
        found += [(f, record.label, "required") for f in findings if f in record.decisive]
    for record in records:
        found += [(f, record.label, "supportive") for f in findings if f in record.supportive]
    return found


def link(
    sample: Sample,
    *,
    findings: Sequence[str],
    records: Sequence[Record],
    cited: Mapping[tuple[str, str], str],
    vocabulary: Vocabulary,
    snapshot: str,
) -> LinkedTrace:
    """The trace that concludes with the sample's own label. `cited`: (finding, label) -> passage id, "" = none found.

    Only relations that a passage states become reasons; a finding without one is stated and no more. For example:

        <think>Findings: microaneurysms, drusen. Required: microaneurysms. Conclusion: diabetic retinopathy.</think>
    """
    relations = tuple(
        Relation(finding=f, label=label, role=role, passage_id=cited[f, label])
        for f, label, role in relations_of(findings, records)
        if cited.get((f, label))
    )
    required, supportive = (
        list(dict.fromkeys(vocabulary.name(r.finding) for r in relations if r.role == role))
        for role in ("required", "supportive")
    )
    text = compose(
        findings=[vocabulary.name(f) for f in findings],
        reasons=reasons(required=required, supportive=supportive),
        conclusion=", ".join(sample.answer),
        letters=answer_letters(sample.answer, sample.options),
    )
    return LinkedTrace(
        sample_id=sample.id,
        text=text,
        findings=tuple(findings),
        conclusion=sample.answer,
        relations=relations,
        snapshot=snapshot,
    )
