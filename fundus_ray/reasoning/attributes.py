"""How many, how bad, on which side: what a text adds to a finding.

In: the prose, the spans of findings, the ends of sentences. Out: number, grade and eye of each.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from fundus_ray.reasoning.eyes import EYE
from fundus_ray.reasoning.polarity import Span

_WINDOW = 44  # characters before a finding in which its number and grade stand
_AFTER = 48
_DIGITS = 3
_UP_TO_TWENTY = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBERS = {
    "single": 1,
    "solitary": 1,
    "lone": 1,
    "pair": 2,
    "couple": 2,
    "dozen": 12,
    **{word: number for number, word in enumerate(_UP_TO_TWENTY, start=1)},
}
_GRADES = {
    "mild": "mild|mildly|slight|slightly|minimal|minimally|subtle|minor|trace|few|occasional|early|faint",
    "moderate": "moderate|moderately|medium",
    "severe": "severe|severely|marked|markedly|extensive|massive|numerous|many|widespread|gross|advanced|profuse|"
    "abundant",
}
_GRADE_OF = {word: grade for grade, words in _GRADES.items() for word in words.split("|")}
_COUNT_AFTER = re.compile(r"\s?(?:\(\s?)?(?:n\s?=|[x\u00d7:])\s?(\d{1,3})\b", re.ASCII | re.IGNORECASE)
_GRADE_AFTER = re.compile(
    rf"[\w\s]{{0,24}}(?:[:(]|\b(?:is|are|was|were|looks?|appears?)\b)\s{{0,2}}(?:very\s)?({'|'.join(_GRADE_OF)})\b",
    re.ASCII | re.IGNORECASE,
)
_UNITS = {
    "mm",
    "um",
    "cm",
    "disc",
    "disk",
    "dd",
    "clock",
    "hours",
    "quadrants",
    "years",
    "months",
    "weeks",
    "days",
    "eyes",
}
_NO_NUMBER_AFTER = {"no", "not", "grade", "stage", "type", "zone", "step", "in", "of"}
_WORD = re.compile(r"[A-Za-z0-9][\w'-]*", re.ASCII)
_WORDS_BETWEEN = 3  # at most, from a number or grade to its finding, itself counted


def attributes(prose: str, span: Span) -> tuple[int | None, str]:
    """(number, grade) that the text gives this finding; (None, "") where it gives none."""
    _, start, end = span
    before, after = prose[max(0, start - _WINDOW) : start], prose[end : end + _AFTER]
    words = _words_before(before)
    return _count(words, after), _grade(words, after)


def _words_before(before: str) -> list[str]:
    """The words next to the finding, the nearest first, as far back as the last punctuation."""
    words: list[str] = []
    for word in reversed(before.split()):
        if not _WORD.fullmatch(word) or len(words) > _WORDS_BETWEEN:
            break
        words.append(word.lower())
    return words


def _count(words: Sequence[str], after: str) -> int | None:
    for i, word in enumerate(words[:_WORDS_BETWEEN]):
        number = int(word) if word.isdigit() and len(word) <= _DIGITS else _NUMBERS.get(word)
        if (
            number is not None
            and not _UNITS.intersection(words[:i])
            and not (i + 1 < len(words) and words[i + 1] in _NO_NUMBER_AFTER)
        ):
            return number
    match = _COUNT_AFTER.match(after)
    return int(match.group(1)) if match else None


def _grade(words: Sequence[str], after: str) -> str:
    for word in words[:_WORDS_BETWEEN]:
        if word in _GRADE_OF:
            return _GRADE_OF[word]
    match = _GRADE_AFTER.match(after)
    return _GRADE_OF[match.group(1).lower()] if match else ""


def sides(prose: str, spans: Sequence[Span], sentence_ends: Sequence[int]) -> list[str]:
    """The eye of each finding, "left", "right", "both" or "".

    Where a sentence names an eye before its first finding, an eye holds for what follows it ("OD: drusen"), else for
    what stands before it ("drusen in the right eye"). "OD:" holds on to the end of its line.
    """
    if not spans:
        return []
    eyes = [""] * len(spans)
    starts = [start for _, start, _ in spans]
    running = ""  # the eye of a heading such as "OD:"
    places = list(EYE.finditer(prose))
    i = k = 0
    for stop in [*sentence_ends, len(prose)]:
        last = bisect_right(starts, stop - 1, lo=i)
        here = []
        while k < len(places) and places[k].start() < stop:
            here.append(places[k])
            k += 1
        if (here and (i == last or here[0].start() < starts[i])) or not here:
            running = _forward(prose, here, eyes, starts, (i, last), running)
        else:
            _backward(here, eyes, starts, (i, last))
        if stop < len(prose) and prose[stop] == "\n":
            running = ""
        i = last
    return eyes


def _forward(
    prose: str,
    here: Sequence[re.Match[str]],
    eyes: list[str],
    starts: Sequence[int],
    part: tuple[int, int],
    running: str,
) -> str:
    side, n = running, 0
    for j in range(*part):
        while n < len(here) and here[n].start() < starts[j]:
            side = here[n].lastgroup or ""
            n += 1
        eyes[j] = side
    if here:
        heads = prose[here[-1].end() : here[-1].end() + 1] == ":"
        running = (here[-1].lastgroup or "") if heads else ""
    return running


def _backward(here: Sequence[re.Match[str]], eyes: list[str], starts: Sequence[int], part: tuple[int, int]) -> None:
    n = 0
    for j in range(*part):
        while n < len(here) and here[n].start() < starts[j]:
            n += 1
        eyes[j] = (here[n].lastgroup or "") if n < len(here) else ""
