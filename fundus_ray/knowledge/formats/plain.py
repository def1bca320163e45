"""Plain text in, one document out: paragraphs between blank lines, no headings, no provenance."""

from __future__ import annotations

import re

from fundus_ray.knowledge.document import Contents, Document, Section, decode_utf8

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def read(data: bytes, *, where: str) -> Contents:
    """The whole text as one section. Raises DataError for bytes that are not UTF-8."""
    text = decode_utf8(data, where=where).replace("\r\n", "\n").replace("\r", "\n")
    return Contents((Document(sections=(Section("", tuple(_BLANK_LINE.split(text))),)),))
