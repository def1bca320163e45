"""What a text says of findings and diseases: "microaneurysms indicate diabetic retinopathy".

In: mentions of findings and labels with their polarity, the prose and its marks. Out: `Relation`s, each once.

A word of linking (cues.py) takes the list of findings before it and the labels after it; or, where a label stands
before it and findings after it, the other way round ("glaucoma is supported by an enlarged cup"). Where it has no
finding before it in its sentence, "this", "so" and their like point to the sentence before, and "these", "together" and
their like to all sentences since the last relation. A label that is denied or unlikely is spoken against. At most
`LIST_CAP` findings and `LABEL_CAP` labels belong to one linking word, so the time is linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fundus_ray.reasoning.cues import Mark
from fundus_ray.reasoning.polarity import Polarity
from fundus_ray.reasoning.reading import Relation

LIST_CAP, LABEL_CAP, MARK_CAP = 16, 4, 64
PLACE_LABELS = frozenset({"left eye", "right eye", "macula", "optic disc", "vascular arcade"})
_PLACE_FINDINGS = frozenset({"disc_on_left", "disc_on_right", "disc_in_centre", "macula_in_centre", "arcade_in_centre"})
_REACH = 70  # characters from a linking word to its label
_NEXT_LABEL = 40  # from one label to the next of a list
_LABEL_BEFORE = 60
_LINKS = {
    "link",
    "link_verb",
    "link_suggest",
    "link_would",
    "against",
    "ruled_out_by",
    "so",
    "given",
    "deny_given",
    "shows",
    "shows_would",
    "hedge_if",
}
_FORWARD_ONLY = {"so"}
_BACKWARD_ONLY = {"shows", "shows_would", "ruled_out_by"}
_AGAINST = {"against", "ruled_out_by"}
_GIVEN = {"given", "deny_given"}
_CONDITIONS = {"deny", "deny_twice", "break"}  # "break": of them "with" alone
_VERDICTS = {"unlikely", "deny_back", "hedge_back"}
_WHOLE = re.compile(
    r"\b(?:these|they|together|combination|combined|overall|all|findings|features|signs)\b", re.IGNORECASE
)
_LESS = re.compile(
    r"\s{1,3}(?:better\s|more\s)?(?:over|than)\b", re.ASCII | re.IGNORECASE
)  # "favours AMD over glaucoma"
_POINTS_BACK = re.compile(
    r"\b(?:this|that|it|which|such|picture|pattern|appearance|so|therefore|thus|hence|we|i)\b", re.IGNORECASE
)


class Spoken(NamedTuple):
    """A mention with how the text means it."""

    key: str
    start: int
    end: int
    polarity: Polarity
    twin: bool = False  # of a label: a finding stands at the same place


def relations(
    findings: Sequence[Spoken], labels: Sequence[Spoken], prose: str, marks: Sequence[Mark]
) -> Iterator[Relation]:
    """In text order of the linking words; the same one may come again."""
    if not labels:
        return
    earlier = _Earlier()
    f = k = n = 0
    begin = 0
    stops = [m for m in marks if m.kind in ("stop", "question")]
    for stop in [*(m.end for m in stops), len(prose)]:
        f2 = _upto(findings, stop, f)
        k2 = _upto(labels, stop, k)
        n2 = _upto(marks, stop, n)
        found: list[Relation] = []
        if k2 > k and _may_relate(marks[n:n2]):
            sentence = _Sentence(prose, (begin, stop), findings[f:f2], labels[k:k2], marks[n:n2])
            found = list(sentence.relations(earlier))
            yield from found
        earlier.add(findings[f:f2], related=bool(found))
        begin, f, k, n = stop, f2, k2, n2


def _may_relate(marks: Sequence[Mark]) -> bool:
    """Whether a sentence of these marks is worth the look: has a word of linking, or begins with a condition."""
    return any(m.kind in _LINKS for m in marks) or (bool(marks) and marks[0].kind in _CONDITIONS)


def _upto(items: Sequence[Spoken] | Sequence[Mark], stop: int, first: int) -> int:
    while first < len(items) and items[first].start < stop:
        first += 1
    return first


class _Earlier:
    """Findings of the sentences before."""

    def __init__(self) -> None:
        self.last: list[Spoken] = []
        self.since_relation: list[Spoken] = []

    def add(self, findings: Sequence[Spoken], *, related: bool) -> None:
        if related:
            self.since_relation = []
        if findings:
            self.last = list(findings[-LIST_CAP:])
            self.since_relation = [*self.since_relation, *self.last][-LIST_CAP:]


class _Sentence:
    """One sentence: its linking words from left to right."""

    def __init__(
        self,
        prose: str,
        place: tuple[int, int],
        findings: Sequence[Spoken],
        labels: Sequence[Spoken],
        marks: Sequence[Mark],
    ) -> None:
        self._prose, self._place = prose, place
        self._findings, self._labels, self._marks = findings, labels, marks
        self._f_starts = [f.start for f in findings]
        self._l_starts = [label.start for label in labels]
        self._breaks = [m.start for m in marks if m.kind in ("verb", "contrast", "stop")]
        self._m_starts = [m.start for m in marks]
        self._contrasts = [m.start for m in marks if m.kind == "contrast"]
        self._bound = place[0]  # what stands before it belongs to a linking word before
        self._subject: list[Spoken] = []

    def relations(self, earlier: _Earlier) -> Iterator[Relation]:
        links = [(i, m) for i, m in enumerate(self._marks) if m.kind in _LINKS]
        for n, (i, mark) in enumerate(links):
            stop = links[n + 1][1].start if n + 1 < len(links) else self._place[1]
            stop = min(stop, self._contrast_after(mark))
            after = self._marks[i - 1] if i else None
            comma = after is not None and after.kind in ("comma", "open", "which") and mark.start - after.end <= 2
            yield from self._one(mark, stop, earlier, comma=comma)
        if not links:
            yield from self._verdict()

    def _one(self, mark: Mark, stop: int, earlier: _Earlier, *, comma: bool) -> Iterator[Relation]:
        before_labels = self._labels_before(mark)
        if mark.kind == "hedge_if":
            yield from self._if(mark, stop)
            return
        if mark.kind in _GIVEN:
            findings = self._findings_in(mark.end, stop)[:LIST_CAP]
            objects = before_labels or (self._labels_after(findings[-1].end, stop) if findings else [])
            yield from self._emit(findings, objects, against=False)
            return
        objects = [] if mark.kind in _BACKWARD_ONLY else self._labels_after(mark.end, stop)
        if objects:
            subject = self._before(mark, whole=comma or mark.kind == "so") or self._pointed_at(mark, earlier)
            yield from self._emit(subject, objects, against=mark.kind in _AGAINST, present=mark.kind == "link_would")
            if subject:
                self._subject = subject
                self._bound = objects[-1].end
        elif before_labels and mark.kind not in _FORWARD_ONLY:
            yield from self._emit(self._list_after(mark, stop), before_labels, against=mark.kind in _AGAINST)

    def _emit(
        self, findings: Sequence[Spoken], labels: Sequence[Spoken], *, against: bool, present: bool = False
    ) -> Iterator[Relation]:
        """`present`: the text speaks of the finding itself, though it denies it ("no x, which would mean y")."""
        for finding in findings:
            for label in labels:
                if (label.key in PLACE_LABELS) != (finding.key in _PLACE_FINDINGS) or finding.start == label.start:
                    continue
                yield Relation(
                    finding=finding.key,
                    label=label.key,
                    supports=not against and label.polarity not in (Polarity.DENIED, Polarity.UNLIKELY),
                    start=min(finding.start, label.start),
                    end=max(finding.end, label.end),
                    present=present or finding.polarity is not Polarity.DENIED,
                )

    def _findings_in(self, start: int, stop: int) -> Sequence[Spoken]:
        return self._findings[bisect_left(self._f_starts, start) : bisect_left(self._f_starts, stop)]

    def _list_after(self, mark: Mark, stop: int) -> list[Spoken]:
        findings = self._findings_in(mark.end, stop)[:LIST_CAP]
        return [f for f in findings if f.start - mark.end <= _REACH or f is not findings[0]]

    def _labels_after(self, start: int, stop: int) -> list[Spoken]:
        """The labels of the list that begins after `start`."""
        found: list[Spoken] = []
        at, limit = start, start + _REACH
        for label in self._labels[bisect_left(self._l_starts, start) : bisect_left(self._l_starts, stop)]:
            between = self._findings_in(at, label.start)
            less = found and ((label.twin and label.polarity is not Polarity.DENIED) or _LESS.match(self._prose, at))
            if label.start > limit or between or len(found) == LABEL_CAP or less:
                break
            found.append(label)
            at, limit = label.end, label.end + _NEXT_LABEL
        return found

    def _labels_before(self, mark: Mark) -> list[Spoken]:
        n = bisect_left(self._l_starts, mark.start) - 1
        if n < 0:
            return []
        label = self._labels[n]
        judged = mark.kind in _GIVEN and label.polarity is Polarity.UNLIKELY
        bare = (not label.twin or judged) and label.key not in PLACE_LABELS
        near = label.start >= self._bound and mark.start - label.end <= _LABEL_BEFORE
        return [label] if bare and near else []

    def _before(self, mark: Mark, *, whole: bool) -> list[Spoken]:
        """The findings before a linking word: all, or the list that stands next to it."""
        found = list(self._findings_in(self._bound, mark.start)[-LIST_CAP:])
        if whole or not found:
            return found
        first = len(found) - 1
        while first and not self._broken(found[first - 1].end, found[first].start):
            first -= 1
        return found[first:]

    def _contrast_after(self, mark: Mark) -> int:
        n = bisect_left(self._contrasts, mark.end)
        return self._contrasts[n] if n < len(self._contrasts) else self._place[1]

    def _broken(self, start: int, end: int) -> bool:
        n = bisect_left(self._breaks, start)
        return n < len(self._breaks) and self._breaks[n] < end

    def _pointed_at(self, mark: Mark, earlier: _Earlier) -> list[Spoken]:
        if self._subject:
            return self._subject
        words = self._prose[max(self._bound, mark.start - _REACH) : mark.end]
        if _WHOLE.search(words):
            return earlier.since_relation
        return earlier.last if _POINTS_BACK.search(words) else []

    def _verdict(self) -> Iterator[Relation]:
        """ "Without new vessels, PDR is unlikely": no linking word, but a condition and a verdict."""
        if not self._findings or not self._marks:
            return
        first = self._marks[0]
        condition = first.kind in ("deny", "deny_twice") or self._prose[first.start : first.end].lower() == "with"
        leads = not self._prose[self._place[0] : first.start].strip()
        if not (condition and leads):
            return
        for label in self._labels[:LABEL_CAP]:
            mark = next((m for m in self._marks if 0 <= m.start - label.end <= 2), None)
            if mark is not None and mark.kind in _VERDICTS and not label.twin:
                findings = self._findings_in(self._bound, label.start)[:LIST_CAP]
                yield from self._emit(findings, [label], against=mark.kind != "hedge_back")

    def _if(self, mark: Mark, stop: int) -> Iterator[Relation]:
        """ "If new vessels are present, it is PDR." Where the condition denies, it says nothing that is read."""
        findings = self._findings_in(mark.end, stop)[:LIST_CAP]
        if not findings:
            return
        first, last = (bisect_left(self._m_starts, at) for at in (mark.end, findings[-1].end))
        if not any(m.kind.startswith("deny") for m in self._marks[first:last][:MARK_CAP]):
            yield from self._emit(findings, self._labels_after(findings[-1].end, stop), against=False)
