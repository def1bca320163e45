"""A trace as a clinician reads it: the image, its label, the verdict, the chain, and what each reason rests on.

In: a stored trace, its sample, the passages. Out: text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.traces.filter import REASONS
from fundus_ray.traces.link import Relation
from fundus_ray.traces.store import StoredTrace
from fundus_ray.types import Sample

WIDTH, PASSAGE_CHARS = 110, 200


def readable(
    stored: StoredTrace, sample: Sample | None, *, passages: Mapping[str, Passage], vocabulary: Vocabulary
) -> str:
    """Several lines. `sample`: of the trace's id, None where there is none; `passages`: by id."""
    image = stored.about["image"]
    if sample is not None and sample.image.sha256 == image:
        where = f"{sample.image.path} ({sample.modality.value})"
    else:
        where = f"not among the samples any more (sha256 {image})"
    verdict = f"not kept, {REASONS.get(stored.rejected, stored.rejected)}" if stored.rejected else "kept"
    lines = [
        f"trace of {stored.trace.sample_id}",
        f"  image    {where}",
        f"  label    {', '.join(stored.about['answer'])}",
        _wrapped("  verdict  ", verdict),
        _wrapped("  chain    ", stored.trace.text),
    ]
    for relation in stored.trace.relations:
        lines += _reason(relation, passages.get(relation.passage_id), vocabulary=vocabulary)
    if not stored.trace.relations:
        lines.append("  reasons  none")
    return "\n".join(lines)


def _reason(relation: Relation, passage: Passage | None, *, vocabulary: Vocabulary) -> list[str]:
    name = vocabulary.name(relation.finding) if relation.finding in vocabulary.findings else relation.finding
    head = f"  reason   {name} ({relation.role} for {relation.label}), by {relation.passage_id}:"
    if passage is None:
        return [head, "           this passage is not in the knowledge any more"]
    section = f", section {passage.section!r}" if passage.section else ""
    words = textwrap.shorten(passage.text, PASSAGE_CHARS, placeholder=" ...")
    return [head, f"           {passage.title}{section}", _wrapped("           ", f'"{words}"')]


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
