"""The text inside the answer tags in, the option texts that it chooses out. Shared by reward and evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:)]?", re.ASCII)
_LETTER_AND_TEXT = re.compile(r"(?:\(([A-Za-z])\)[.:]?|([A-Za-z])[.:)])\s+(\S.*)", re.ASCII | re.DOTALL)
_LETTER_JOINT = re.compile(r"\s*(?:,?\s*\band\b|[,;/&])\s*", re.IGNORECASE)


def choose(answer_text: str | None, options: Sequence[str]) -> tuple[str, ...] | None:
    """The chosen option texts, in the options' order; None where nothing can be read.

    Reads `B`, `b`, `(B)`, `B.`, `B. glaucoma`, `A,D`, and exact option text (letter case and blanks aside). Letters
    alone may also be joined by `and`, `;`, `/` or `&`. None for a letter out of range and where letter and text
    disagree. A single letter is a letter even where an option's text is that letter. Without options (free text) the
    answer is the text itself.
    """
    text = _tidy(answer_text or "")
    if not text:
        return None
    if not options:
        return (text,)
    whole = _one(text, options)
    chosen = {whole} if whole is not None else {_one(item, options) for item in _items(text)}
    if None in chosen:
        return None
    return tuple(option for i, option in enumerate(options) if i in chosen)


def _items(text: str) -> list[str]:
    letters = _LETTER_JOINT.split(text)
    return letters if all(map(_LETTER.fullmatch, letters)) else [_tidy(item) for item in text.split(",")]


def _one(text: str, options: Sequence[str]) -> int | None:
    if match := _LETTER.fullmatch(text):
        return _in_range(match.group(1), options)
    if (i := _by_text(text, options)) is not None:
        return i
    if match := _LETTER_AND_TEXT.fullmatch(text):
        by_letter = _in_range(match.group(1) or match.group(2), options)
        return by_letter if by_letter is not None and _same(match.group(3), options[by_letter]) else None
    return None


def _in_range(letter: str, options: Sequence[str]) -> int | None:
    i = ord(letter.upper()) - ord("A")
    return i if i < len(options) else None


def _by_text(text: str, options: Sequence[str]) -> int | None:
    return next((i for i, option in enumerate(options) if _same(text, option)), None)


def _same(a: str, b: str) -> bool:
    return _tidy(a).rstrip(".").casefold() == _tidy(b).rstrip(".").casefold()


def _tidy(text: str) -> str:
    return " ".join(text.split())
