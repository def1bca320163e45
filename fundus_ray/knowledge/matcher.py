"""Find known phrases in free text: any letter case (but see `Matcher`), British or American spelling, hyphen or blank.

In: phrases with the key of each, then any text. Out: (key, start, end), as character offsets into the text given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_GAP = r"\s\-/\u2010\u2011\u00a0"
# Gaps are bounded so that a long run of blanks costs nothing.
_GAP_PATTERN = f"[{_GAP}]{{1,4}}"
_GAPS = re.compile(f"[{_GAP}]+")
# The reference spelling, and the pattern that reads every spelling of it. No pattern holds a gap.
_SPELLINGS = {
    "haemorrh": "ha?emorrh",
    "haemangio": "ha?emangio",
    "ischaem": "ischa?em",
    "hyperaem": "hypera?em",
    "oedema": "o?edema",
    "naev": "na?ev",
    "isation": "i[sz]ation",
    "alised": "ali[sz]ed",
    "ising": "i[sz]ing",
    "centre": "cent(?:re|er)",
    "fibre": "fib(?:re|er)",
    "colour": "colou?r",
    "tumour": "tumou?r",
    "grey": "gr[ae]y",
    "disc": "dis[ck]",
}
_REFERENCES = tuple(_SPELLINGS)
_SPELLED = re.compile("|".join(f"({pattern})" for pattern in _SPELLINGS.values()))
_SHORT = re.compile(r"[A-Z]{1,3}s?")
_END = ""  # key of the trie that marks the end of a phrase; no piece of a pattern is empty

_Trie = dict[str, Any]


class Matcher:
    """Finds known phrases: any letter case and spelling, whole words, longest first, non-overlapping.

    The phrases are one regular expression in the form of a prefix trie, so the time for a text is linear in its length
    and hardly grows with the number of phrases. ASCII case folding: with Unicode folding a match could not be looked
    up again (the dotless i matches `i` but does not lower to it).
    """

    def __init__(self, phrases: Mapping[str, str], *, short_in_capitals: bool = False) -> None:
        """`phrases` maps a phrase to its key. `short_in_capitals`: an abbreviation of up to three letters (ODD, MAs) is
        found only where it stands in capitals, since in small letters it may be an ordinary word.

        Raises ValueError where two keys claim one phrase, or where a phrase does not begin and end with a letter or
        digit (it would be no whole word).
        """
        self._keys: dict[str, str] = {}
        short = {normalise(phrase) for phrase in phrases if short_in_capitals and _SHORT.fullmatch(phrase)}
        self._short = short - {normalise(phrase) for phrase in phrases if not _SHORT.fullmatch(phrase)}
        trie: _Trie = {}
        for phrase, key in phrases.items():
            norm = normalise(phrase)
            if not re.fullmatch(r"[a-z0-9](?:.*[a-z0-9])?", norm):
                raise ValueError(f"phrase {phrase!r} must begin and end with a letter or digit")
            if self._keys.setdefault(norm, key) != key:
                raise ValueError(f"phrase {phrase!r} belongs to both {self._keys[norm]} and {key}")
            node = trie
            for piece in _pieces(norm):
                node = node.setdefault(piece, {})
            node[_END] = {}
        # A phrase begins with a letter or digit, so `\b` says that none stands before it. No phrase matches nothing.
        self._regex = re.compile(rf"\b{_pattern(trie)}\b" if trie else r"(?!)", re.ASCII | re.IGNORECASE)

    def find(self, text: str) -> Iterator[tuple[str, int, int]]:
        """(key, start, end) of every phrase in the text, left to right."""
        for match in self._regex.finditer(text):
            phrase = _remembered(match.group())
            # No shorter phrase is missed where one is passed over: it is a single word.
            if phrase not in self._short or _SHORT.fullmatch(match.group().removesuffix("S")):
                yield self._keys[phrase], match.start(), match.end()

    def exact(self, text: str) -> str | None:
        """The key whose phrase the whole text is, in any letter case, or None."""
        return self._keys.get(normalise(text))


def normalise(phrase: str) -> str:
    """Lower case, single spaces for gaps and hyphens, British spelling: equal for two writings of one phrase."""
    text = _GAPS.sub(" ", phrase).strip().lower()
    return _SPELLED.sub(_reference, text)


# A text says the same few phrases again and again.
_remembered = lru_cache(maxsize=8192)(normalise)


def _reference(match: re.Match[str]) -> str:
    return _REFERENCES[(match.lastindex or 0) - 1]


def _pieces(norm: str) -> Iterator[str]:
    """The patterns, one after the other, that read every writing of a normalised phrase."""
    done = 0
    for match in _SPELLED.finditer(norm):
        yield from map(_literal, norm[done : match.start()])
        yield _SPELLINGS[match.group()]
        done = match.end()
    yield from map(_literal, norm[done:])


def _literal(character: str) -> str:
    return _GAP_PATTERN if character == " " else re.escape(character)


def _pattern(node: _Trie) -> str:
    """The regular expression of a trie. Longer phrases are tried first: the end of a phrase stands last.

    Two phrases that match at one place agree in every whole word of the shorter one and so share its path, which makes
    this the longest match.
    """
    ends = _END in node
    branches = []
    for piece, child in node.items():
        if piece == _END:
            continue
        # A run without a fork needs no nesting, which keeps the expression flat.
        while len(child) == 1 and _END not in child:
            follower, child = next(iter(child.items()))
            piece += follower
        branches.append(piece + _pattern(child))
    if not branches:
        return ""
    if len(branches) == 1 and not ends:
        return branches[0]
    # `\b` before the shorter phrase is tried only where the longer ones failed.
    return f"(?:{'|'.join(branches)}){'?' if ends else ''}"
