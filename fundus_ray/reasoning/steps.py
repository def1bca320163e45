"""The grammar's reader: any text in, what it says out.

Reads `<think>Findings: ... Conclusion: ...</think><answer>B</answer>` and free text alike, in time linear in the text,
and never raises: whatever is not as asked is a line in `problems`. Positions are character offsets into the text.

What is a finding or a label: the vocabulary, and shared_noun.py. What is denied, doubted or past: polarity.py. What
speaks for what: relations.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning import form
from fundus_ray.reasoning.attributes import attributes, sides
from fundus_ray.reasoning.cues import Mark, marks
from fundus_ray.reasoning.form import first_sentence
from fundus_ray.reasoning.polarity import Polarity, Span, polarities
from fundus_ray.reasoning.reading import Mention, Reading, Relation
from fundus_ray.reasoning.relations import LIST_CAP, PLACE_LABELS, Spoken, relations
from fundus_ray.reasoning.shared_noun import with_shared_nouns

__all__ = ["Mention", "Reading", "Relation", "first_sentence", "labels_in", "read_chain"]

_AGAINST = (Polarity.DENIED, Polarity.UNLIKELY)
Place = tuple[int, int]


def read_chain(text: str, vocabulary: Vocabulary) -> Reading:
    """Findings, relations, conclusion and answer of any text. Never raises."""
    tags = form.tags(text)
    problems = form.form_problems(text, tags)
    places = form.answers(text, tags)
    answers = {text[start:end] for start, end in places}
    if len(answers) > 1:
        problems.append("several answers that differ")
    prose = form.prose_of(text, tags)
    headings = form.headings(prose)
    problems += form.heading_problems(headings)
    said = form.conclusion_place(prose, headings, tags)
    cues = marks(prose)
    findings, labels = _mentions(prose, cues, vocabulary)
    links = list(relations(_outside(findings, said), labels, prose, cues))
    concluded = said or _last_label(labels, links)
    conclusion = _conclusion(prose, concluded, labels, heading=said is not None)
    named = labels_in(conclusion or "", vocabulary)
    by_polarity = _first_of_each(prose, cues, _outside(findings, said))
    asserted, denied = by_polarity[Polarity.ASSERTED], by_polarity[Polarity.DENIED]
    both = [f"both asserted and denied: {vocabulary.name(key)}" for key in asserted if key in denied]
    first = min((m.start for m in (*asserted.values(), *denied.values())), default=None)
    answer = (next(iter(answers)) or None) if len(answers) == 1 else None
    return Reading(
        asserted=tuple(asserted.values()),
        denied=tuple(denied.values()),
        conclusion=conclusion,
        answer=answer,
        well_formed=not problems,
        problems=(*problems, *both),
        hedged=tuple(by_polarity[Polarity.HEDGED].values()),
        relations=tuple(_once([*_by_heading(prose, headings, findings, named, said), *links])),
        conclusion_span=concluded if conclusion else None,
        conclusion_labels=named,
        answer_span=places[0] if answer else None,
        findings_first=first < concluded[0] if conclusion and concluded and first is not None else None,
    )


def labels_in(text: str, vocabulary: Vocabulary) -> frozenset[str]:
    """The labels that the text mentions and does not deny."""
    spans = list(vocabulary.label_matcher.find(text))
    found = polarities(spans, text, marks(text))
    return frozenset(key for (key, _, _), polarity in zip(spans, found, strict=True) if polarity not in _AGAINST)


def _mentions(prose: str, cues: Sequence[Mark], vocabulary: Vocabulary) -> tuple[list[Spoken], list[Spoken]]:
    """Findings and labels. Of a word in both, as "drusen" of "optic disc drusen", the longer name has it."""
    found = list(vocabulary.finding_matcher.find(prose))
    named = list(vocabulary.label_matcher.find(prose))
    whole = list(_not_inside(found, named))
    findings = with_shared_nouns(prose, whole, vocabulary.finding_matcher, others=named)
    labels = list(_not_inside(named, findings))
    twins = {start for _, start, _ in findings}
    both = twins & {start for _, start, _ in labels}
    bare = [[span for span in spans if span[1] not in both] for spans in (findings, labels)]
    return (
        [
            Spoken(key, start, end, polarity)
            for (key, start, end), polarity in zip(
                findings, polarities(findings, prose, cues, others=bare[1]), strict=True
            )
        ],
        [
            Spoken(key, start, end, polarity, twin=start in twins)
            for (key, start, end), polarity in zip(labels, polarities(labels, prose, cues, others=bare[0]), strict=True)
        ],
    )


def _not_inside(spans: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Those that do not overlap a longer one of the others."""
    starts = [start for _, start, _ in others]
    for span in spans:
        _, start, end = span
        n = bisect_right(starts, end - 1) - 1
        if n < 0 or others[n][2] <= start or others[n][2] - others[n][1] <= end - start:
            yield span


def _outside(findings: Sequence[Spoken], place: Place | None) -> list[Spoken]:
    """The label of a conclusion may hold a finding's name, which is then no finding."""
    return [f for f in findings if place is None or not place[0] <= f.start < place[1]]


def _first_of_each(prose: str, cues: Sequence[Mark], findings: Sequence[Spoken]) -> dict[Polarity, dict[str, Mention]]:
    found: dict[Polarity, dict[str, Mention]] = {polarity: {} for polarity in Polarity}
    spans = [(f.key, f.start, f.end) for f in findings]
    ends = [m.start for m in cues if m.kind in ("stop", "question")]
    for finding, span, side in zip(findings, spans, sides(prose, spans, ends), strict=True):
        polarity = Polarity.HEDGED if finding.polarity is Polarity.UNLIKELY else finding.polarity
        if finding.key not in found[polarity]:
            count, grade = attributes(prose, span)
            found[polarity][finding.key] = Mention(*span, side=side, count=count, grade=grade)
    return found


def _last_label(labels: Sequence[Spoken], links: Sequence[Relation]) -> Place | None:
    """Without a heading: the last label that is not denied. A finding's name is one only where a relation says so;
    a place, such as the macula, where no disease is named or a relation says so."""
    linked = {link.label for link in links}
    spots = [x for x in labels if x.polarity not in _AGAINST and (not x.twin or x.key in linked)]
    diseases = [x for x in spots if x.key not in PLACE_LABELS or x.key in linked]
    last = (diseases or spots)[-1:]
    return (last[0].start, last[0].end) if last else None


def _conclusion(prose: str, place: Place | None, labels: Sequence[Spoken], *, heading: bool) -> str | None:
    if place is None:
        return None
    if heading:
        return first_sentence(prose[place[0] : place[1]]) or None
    return next(x.key for x in labels if x.start == place[0])


def _by_heading(
    prose: str, headings: Sequence[form.Match], findings: Sequence[Spoken], labels: frozenset[str], said: Place | None
) -> Iterator[Relation]:
    """`Required: a. Supportive: b. Conclusion: L.`: a and b speak for L."""
    if said is None:
        return
    starts = [f.start for f in findings]
    roles = form.roles(prose, said[0])
    stops = [*(role.start() for role in roles), said[0]][1:]
    for heading, stop in zip(roles, stops, strict=True):
        n = bisect_right(starts, heading.end() - 1)
        end = form.sentence_end(prose, heading.end(), stop)
        for finding in findings[n : n + LIST_CAP]:
            if finding.start < end:
                for label in sorted(labels):
                    yield Relation(finding.key, label, True, finding.start, said[1])


def _once(links: Sequence[Relation]) -> Iterator[Relation]:
    seen = set()
    for link in links:
        what = (link.finding, link.label, link.supports, link.present)
        if what not in seen:
            seen.add(what)
            yield link
