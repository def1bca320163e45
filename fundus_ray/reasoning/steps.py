"""The grammar's reader: any text in, what it says out.

Reads `<think>Findings: ... Conclusion: ...</think><answer>B</answer>` and free text alike, in time linear in the text,
and never raises: whatever is not as asked is a line in `problems`. Positions are character offsets into the text.

Negation, in the manner of NegEx (Chapman et al. 2001) but simpler: a cue ("no", "not", "without", "absence of",
"denies", "none", ...) denies every finding after it up to the end of its clause. A clause ends at . ; ! ? or a line
break, at a heading, and at "but", "however", "although", "though", "except", "with". A comma does not end it, so
"no drusen, haemorrhages or exudates" denies three. "drusen: none" and "drusen absent" deny as well.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.reading import Mention, Reading, Relation

__all__ = ["Mention", "Reading", "Relation", "first_sentence", "labels_in", "read_chain"]

_TAG = re.compile(r"</?(?:think|answer)>")
_GRAMMAR = ("<think>", "</think>", "<answer>", "</answer>")
_HEADING = re.compile(r"\b(findings|conclusion)\s{0,3}:", re.ASCII | re.IGNORECASE)
_ROLE = re.compile(r"\b(?:required|supportive)\s{0,3}:", re.ASCII | re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"[;!?\n]|\.(?!\d)|\b(?:findings|conclusion)\s{0,3}:|\b(?:but|however|although|though|except|with)\b",
    re.ASCII | re.IGNORECASE,
)
_CUE = re.compile(
    r"\b(?:no|not|without|absence\s{1,3}of|absent|denies|deny|denied|none|neither|never|lacks|lacking|free\s{1,3}of|negative\s{1,3}for)\b",
    re.ASCII | re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"\s{0,3}(?::|is|are|was|were)?\s{0,3}(?:none|absent|excluded|not\s{1,3}(?:seen|present|visible|found|detected))\b",
    re.ASCII | re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.\s|\n")
_MENTION, _CLAUSE, _NEGATION = 0, 1, 2  # kinds of event in the negation sweep, in the order at one place


def read_chain(text: str, vocabulary: Vocabulary) -> Reading:
    """Findings asserted and denied, conclusion and answer of any text. Never raises."""
    tags = list(_TAG.finditer(text))
    form = _form_problems(text, tags)
    answers = _answers(text, tags)
    if len(set(answers)) > 1:
        form.append("several answers that differ")
    prose = _prose(text, tags)
    headings = list(_HEADING.finditer(prose))
    form += _heading_problems(headings)
    spans = list(vocabulary.finding_matcher.find(prose))
    where = _conclusion_span(prose, headings)
    asserted, denied = _sort_by_negation(prose, spans, skip=where)
    both = [f"both asserted and denied: {vocabulary.name(key)}" for key in asserted if key in denied]
    concluded = _conclusion(prose, where, spans, vocabulary)
    conclusion, conclusion_span = concluded if concluded else (None, None)
    labels = labels_in(conclusion or "", vocabulary)
    first = next(iter(asserted.values()), None)
    return Reading(
        asserted=tuple(asserted.values()),
        denied=tuple(denied.values()),
        conclusion=conclusion,
        answer=(answers[0] or None) if len(set(answers)) == 1 else None,
        well_formed=not form,
        problems=(*form, *both),
        relations=tuple(_grammar_relations(prose, spans, labels, where)),
        conclusion_span=conclusion_span,
        conclusion_labels=labels,
        answer_span=_answer_span(text, tags),
        findings_first=first.start < conclusion_span[0] if first and conclusion_span else None,
    )


def labels_in(text: str, vocabulary: Vocabulary) -> frozenset[str]:
    """The labels that the text mentions and does not deny."""
    spans = list(vocabulary.label_matcher.find(text))
    asserted, _ = _sort_by_negation(text, spans, skip=None)
    return frozenset(asserted)


def first_sentence(text: str) -> str:
    """The text up to its first sentence or line end, without a closing full stop; blanks collapsed."""
    text = text.strip()
    end = _SENTENCE_END.search(text)
    return " ".join(text[: end.start() if end else len(text)].split()).rstrip(".").rstrip()


def _form_problems(text: str, tags: list[re.Match[str]]) -> list[str]:
    names = [tag.group() for tag in tags]
    problems = [_count_problem(name, names) for name in _GRAMMAR if names.count(name) != 1]
    if problems:
        return problems
    if tuple(names) != _GRAMMAR:
        return ["tags are nested or out of order"]
    if text[tags[3].end() :].strip():
        problems.append("text after </answer>")
    if text[: tags[0].start()].strip() or text[tags[1].end() : tags[2].start()].strip():
        problems.append("text outside the tags")
    if not text[tags[2].end() : tags[3].start()].strip():
        problems.append("empty answer")
    return problems


def _heading_problems(headings: list[re.Match[str]]) -> list[str]:
    names = [f"heading {h.group(1).lower()}" for h in headings]
    if names == ["heading findings", "heading conclusion"]:
        return []
    odd = [_count_problem(name, names) for name in ("heading findings", "heading conclusion") if names.count(name) != 1]
    return odd or ["the conclusion stands before the findings"]


def _count_problem(name: str, names: list[str]) -> str:
    return f"{name} is {'repeated' if name in names else 'missing'}"


def _answers(text: str, tags: list[re.Match[str]]) -> list[str]:
    return [
        text[a.end() : b.start()].strip()
        for a, b in pairwise(tags)
        if (a.group(), b.group()) == ("<answer>", "</answer>")
    ]


def _prose(text: str, tags: list[re.Match[str]]) -> str:
    """The text with tags and answers blanked by line breaks, so that offsets stay and no clause runs across."""
    parts, done = [], 0
    for i, tag in enumerate(tags):
        closes_answer = i > 0 and (tags[i - 1].group(), tag.group()) == ("<answer>", "</answer>")
        parts.append("\n" * (tag.start() - done) if closes_answer else text[done : tag.start()])
        parts.append("\n" * (tag.end() - tag.start()))
        done = tag.end()
    return "".join([*parts, text[done:]])


def _sort_by_negation(
    prose: str, spans: list[tuple[str, int, int]], *, skip: tuple[int, int] | None
) -> tuple[dict[str, Mention], dict[str, Mention]]:
    """First asserting and first denying mention of each key. One merged sweep over mentions, cues and clause ends."""
    # At one place a mention comes first: the "no" of the label "no abnormality" is part of the label.
    events = [(start, _MENTION, i) for i, (_, start, _) in enumerate(spans)]
    events += [(m.start(), _CLAUSE, 0) for m in _CLAUSE_END.finditer(prose)]
    events += [(m.start(), _NEGATION, 0) for m in _CUE.finditer(prose)]
    asserted: dict[str, Mention] = {}
    denied: dict[str, Mention] = {}
    in_scope, covered = False, 0
    for start, kind, i in sorted(events):
        if start < covered:
            continue
        if kind != _MENTION:
            in_scope = kind == _NEGATION
            continue
        key, _, end = spans[i]
        after = _DENIED_AFTER.match(prose, end)
        covered = after.end() if after else end
        if skip is None or not skip[0] <= start < skip[1]:
            (denied if in_scope or after else asserted).setdefault(key, Mention(key, start, end))
    return asserted, denied


def _conclusion_span(prose: str, headings: list[re.Match[str]]) -> tuple[int, int] | None:
    """Where the last conclusion stands: the label in it may hold a finding's name, which is then not a finding."""
    last = next((h for h in reversed(headings) if h.group(1).lower() == "conclusion"), None)
    if last is None:
        return None
    end = _SENTENCE_END.search(prose, last.end())
    return last.end(), end.start() if end else len(prose)


def _conclusion(
    prose: str,
    where: tuple[int, int] | None,
    spans: list[tuple[str, int, int]],
    vocabulary: Vocabulary,
) -> tuple[str, tuple[int, int]] | None:
    if where is not None:
        text = first_sentence(prose[where[0] : where[1]])
        return (text, where) if text else None
    finding_starts = [start for _, start, _ in spans]
    spots = []
    for label, start, end in vocabulary.label_matcher.find(prose):
        i = bisect_right(finding_starts, start) - 1
        if i < 0 or start >= spans[i][2]:  # the "optic disc" of "optic disc on the left" names no structure
            spots.append((label, start, end))
    labels, _ = _sort_by_negation(prose, spots, skip=None)
    if not labels:
        return None
    last = max(labels.values(), key=lambda m: m.start)
    return last.finding, (last.start, last.end)


def _answer_span(text: str, tags: list[re.Match[str]]) -> tuple[int, int] | None:
    pair = next(((a, b) for a, b in pairwise(tags) if (a.group(), b.group()) == ("<answer>", "</answer>")), None)
    return (pair[0].end(), pair[1].start()) if pair else None


def _grammar_relations(
    prose: str, spans: list[tuple[str, int, int]], labels: frozenset[str], where: tuple[int, int] | None
) -> Iterator[Relation]:
    """`Required: a. Supportive: b. Conclusion: L.`: a and b speak for L."""
    if where is None:
        return
    for heading in _ROLE.finditer(prose, 0, where[0]):
        end = _SENTENCE_END.search(prose, heading.end())
        stop = end.start() if end else len(prose)
        for finding, start, finish in spans:
            if heading.end() <= start < stop:
                yield from (Relation(finding, label, True, start, finish) for label in sorted(labels))
