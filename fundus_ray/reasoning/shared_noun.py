"""Findings whose noun stands with a later one: "intraretinal or subretinal fluid" names two.

In: the prose and the findings that stand in it whole. Out: the same and those of which the modifier alone stands there.

A modifier is one where "and", "or" or their like lead on to a known phrase, and where it makes a known phrase with the
noun of that one ("intraretinal" + "fluid"); in a list, commas stand between the modifiers before ("preretinal,
subretinal and vitreous haemorrhages"). A hyphen may stand for the noun: "intra- and subretinal fluid". The vocabulary
says what is known, so no list of modifiers is kept here. Each look back has a bounded length: the time is linear.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fundus_ray.knowledge.matcher import Matcher, normalise
from fundus_ray.reasoning.polarity import Span

_JOINER_REACH, _MODIFIER_REACH = 28, 56  # characters
_MODIFIER_WORDS = 3
_STEM = 3  # letters at least of what a suspended hyphen shares ("intra- and subretinal")
_BLANK = r"[^\S\n]"
_AMOUNT = r"any|some|few|many|several|numerous|mild|moderate|severe|two|three|four|five|six|\d{1,2}"
_BETWEEN = rf"(?:{_BLANK}{{1,2}}(?:no|not|also|possible|possibly|probable|probably|{_AMOUNT}))?{_BLANK}{{1,3}}"
_AND = r"\b(?:and/or|and|or|nor|as well as|but|rather than)"
_JOINER = re.compile(rf"{_BLANK}{{1,3}}(?:{_AND}|&){_BETWEEN}\Z|{_BLANK}?/{_BLANK}?\Z", re.ASCII | re.IGNORECASE)
_LISTED = re.compile(rf",(?:{_BLANK}{{1,3}}{_AND})?{_BETWEEN}\Z", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"[^\W\d_][\w'-]*|\S|\n", re.ASCII)
# What makes a phrase more than modifiers and a noun ("veins are beaded", "blood in the vitreous", "no foveal reflex").
_NO_MODIFIERS = frozenset(
    {
        *("a", "an", "the", "no", "not"),
        *("of", "in", "on", "at", "to", "into", "from", "with", "without", "within", "between", "under", "beneath"),
        *("below", "along", "is", "are", "isn't", "aren't", "look", "looks", "appear", "appears", "seem", "seems"),
    }
)
_ARTICLES = {"the", "a", "an", "this"}
_PLACES = {"in", "into", "of", "at", "on", "over", "within", "from", "to", "near", "under", "above", "below", "by"}


def with_shared_nouns(
    prose: str, findings: Sequence[Span], matcher: Matcher, *, others: Sequence[Span] = ()
) -> list[Span]:
    """The findings in text order, none overlapping, with those added that are a modifier alone.

    `findings` and `others` (mentions of another sort, which hold no modifier) stand in text order.
    """
    found: list[Span] = []
    starts = [start for _, start, _ in others]
    done = 0
    for span in findings:
        key, start, end = span
        if _nouns(prose[start:end]):
            shared = list(_before(prose, span, done, matcher))
            found += [s for s in reversed(shared) if s[0] != key and not _overlaps(s, starts, others)]
        found.append(span)
        done = end
    return found


def _overlaps(span: Span, starts: Sequence[int], others: Sequence[Span]) -> bool:
    n = bisect_left(starts, span[2]) - 1
    return n >= 0 and others[n][2] > span[1]


def _before(prose: str, span: Span, floor: int, matcher: Matcher) -> Iterator[Span]:
    """The modifiers before a finding that share its noun, the nearest first; none begins before `floor`."""
    _, at, end = span
    phrase = prose[at:end]
    joiner = _JOINER
    while True:
        # A slice, so that the end of it is where the joining word must end.
        low = max(floor, at - _JOINER_REACH)
        match = joiner.search(prose[low:at])
        if match is None:
            return
        modifier = _modifier(prose, (floor, low + match.start()), phrase, matcher)
        if modifier is None:
            return
        yield modifier
        at, joiner = modifier[1], _LISTED


def _modifier(prose: str, place: tuple[int, int], phrase: str, matcher: Matcher) -> Span | None:
    """The longest modifier that ends where the place ends and makes a known phrase with a noun of this one."""
    floor, end = place
    low = max(floor, end - _MODIFIER_REACH)
    tokens = [m for m in _TOKEN.finditer(prose, low, end) if m.start() > low or low == floor]
    for n in range(min(_MODIFIER_WORDS, len(tokens)), 0, -1):
        start = tokens[-n].start()
        key = _key(matcher, prose[start:end], phrase)
        if key is None:
            continue
        before = [m.group().lower() for m in tokens[-n - 2 : -n]]
        of_a_place = len(before) == 2 and before[0] in _PLACES and before[1] in _ARTICLES
        return None if of_a_place else (key, start, end)  # "opacities in the vitreous and retinal haemorrhages"
    return None


@lru_cache(maxsize=8192)  # a text says the same few phrases again and again
def _key(matcher: Matcher, modifier: str, phrase: str) -> str | None:
    if not normalise(modifier):  # a line break alone would leave the bare noun
        return None
    if modifier.endswith("-"):
        word, _, rest = normalise(phrase).partition(" ")
        tails = [f"{modifier[:-1]}{word[j:]} {rest}" for j in range(1, len(word) - _STEM + 1)]
    else:
        tails = []
    return next(filter(None, map(matcher.exact, [*(f"{modifier} {noun}" for noun in _nouns(phrase)), *tails])), None)


@lru_cache(maxsize=8192)
def _nouns(phrase: str) -> tuple[str, ...]:
    """What is left of a phrase without its first modifiers, the longest first: none of one word.

    >>> _nouns("deep retinal haemorrhages")
    ('retinal haemorrhages', 'haemorrhages')
    """
    words = normalise(phrase).split(" ")
    known = next((i for i, word in enumerate(words) if word in _NO_MODIFIERS), len(words))
    return tuple(" ".join(words[i:]) for i in range(1, known) if words[i] != "and")
