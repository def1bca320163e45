"""A document in, passages out: text cleaned, sections cut at sentence ends to a token budget, parts numbered.

A section that fits is one passage; a longer one becomes parts of about equal length. Only a sentence longer than the
whole budget is cut inside.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from fundus_ray.knowledge.document import Document
from fundus_ray.knowledge.passage import Passage

# Sub-word tokenizers make about four tokens of three English words; clinical words are longer, so this is an estimate
# that errs towards too many tokens. Counting with a real tokenizer would tie passages to one model.
WORDS_PER_TOKEN = 0.75
_WORD = re.compile(r"\S{1,40}")  # a longer run of letters (script without spaces, encoded data) counts as several words
_DROPPED = re.compile(
    # control characters but white space; soft hyphen, zero-width space, word joiner, byte order mark; lone surrogates
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ud800-\udfff]"
)
_SENTENCE_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]\s*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:e\.g|i\.e|cf|vs|etc|al|figs?|eqs?|refs?|dr|prof|mrs?|ms|st|no|approx|ca|resp|[A-Za-z])\.$",
    re.IGNORECASE,
)
_LOOK_BACK = 12  # characters before a full stop: longer than any abbreviation above
_META_CHARS = (
    1000  # of a title, heading or provenance: longer is text in the wrong place, and stores refuse 32 kB terms
)


def passages(document: Document, *, name: str, tokens: int) -> list[Passage]:
    """The document's passages, NAME#0, NAME#1, ... A section without text keeps its number, so others keep theirs."""
    words = max(1, int(tokens * WORDS_PER_TOKEN))
    meta = {key: clean(getattr(document, key))[:_META_CHARS] for key in ("title", "source", "url")}
    licence = clean(document.licence)[:_META_CHARS] or "unknown"
    made: list[Passage] = []
    number = 0
    for section in document.sections:
        heading = clean(section.heading)[:_META_CHARS]
        parts = split(section.paragraphs, words=words)
        made += [
            Passage(id=f"{name}#{n}", section=heading, text=text, licence=licence, **meta)
            for n, text in enumerate(parts, start=number)
        ]
        number += max(1, len(parts))
    return made


def clean(text: str) -> str:
    """Single spaces, composed accents (NFC), no control or invisible characters, nothing that UTF-8 cannot hold."""
    text = _DROPPED.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


def split(paragraphs: Sequence[str], *, words: int) -> list[str]:
    """The text in parts of at most `words` words, about equally long, cut at sentence ends."""
    cleaned = [text for text in map(clean, paragraphs) if text]
    total = sum(_length(text) for text in cleaned)
    if total <= words:
        return [" ".join(cleaned)] if cleaned else []
    pieces = [piece for text in cleaned for sentence in sentences(text) for piece in _cut(sentence, words=words)]
    aim = total / -(-total // words)  # without it the last part may be a few words, which short-text scores favour
    parts: list[list[str]] = [[]]
    filled = 0
    for piece in pieces:
        size = _length(piece)
        if parts[-1] and (filled >= aim or filled + size > words):
            parts.append([])
            filled = 0
        parts[-1].append(piece)
        filled += size
    return [" ".join(part) for part in parts]


def sentences(text: str) -> Iterator[str]:
    """The sentences of a cleaned paragraph. Where it is doubtful whether one ends, it goes on."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        before = text[max(start, match.start() - _LOOK_BACK) : match.start() + 1]
        if not text[match.end() : match.end() + 1].islower() and not _ABBREVIATION.search(before):
            yield text[start : match.end()].rstrip()
            start = match.end()
    if start < len(text):
        yield text[start:]


def _length(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def _cut(sentence: str, *, words: int) -> Iterator[str]:
    found = list(_WORD.finditer(sentence))
    for first in range(0, len(found), words):
        yield sentence[found[first].start() : found[min(first + words, len(found)) - 1].end()]
