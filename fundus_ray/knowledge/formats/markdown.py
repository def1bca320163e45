"""Markdown in, one document out: sections at `##` and `###` headings, provenance from front matter.

A file may open with front matter (`title`, `source`, `url`, `licence` between `---` lines). Without it the title is
the first `# heading`.
"""

from __future__ import annotations

import re

import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Contents, Document, Outline, Section, decode_utf8

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)(?:\n|(?<=\n))---[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_CHARS = 4_000  # a longer block is no front matter, and deep YAML takes time that grows with its square
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_CLOSING_HASHES = re.compile(r"[ \t]#+[ \t]*\Z")
_FENCE = re.compile(r"[ \t]{0,3}(```|~~~)")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_EMPHASIS = re.compile(r"\*\*|(?<!\w)__|__(?!\w)")
_KEYS = ("title", "source", "url", "licence")
_SECTION_LEVEL = 3  # deeper headings are lines of text


def read(data: bytes, *, where: str) -> Contents:
    """The file's sections. Raises DataError for bytes that are not UTF-8 and for broken front matter."""
    text = decode_utf8(data, where=where).replace("\r\n", "\n").replace("\r", "\n")
    front = _FRONT.match(text)
    meta = _front_matter(front.group(1), where=where) if front else {}
    title, sections = _body(text[front.end() :] if front else text, title=meta.pop("title", ""))
    return Contents((Document(sections=sections, title=title, **meta),))


def _body(text: str, *, title: str) -> tuple[str, tuple[Section, ...]]:
    outline = Outline()
    fenced = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
            outline.end_paragraph()
            continue
        heading = None if fenced else _HEADING.match(line)
        if heading:
            level, words = len(heading.group(1)), _inline(_CLOSING_HASHES.sub("", heading.group(2)))
            if level == 1:
                title = title or words
                words = "" if words == title else words
            if level <= _SECTION_LEVEL:
                outline.heading(words, level=level)
                continue
            outline.end_paragraph()
            line = words
        elif not line.strip() or (_LIST_ITEM.match(line) and not fenced):
            outline.end_paragraph()
        outline.text((line if fenced else _inline(line)) + "\n")
        if heading:
            outline.end_paragraph()
    return title, outline.sections()


def _inline(line: str) -> str:
    """The words of a line: a link's text without its address, no marks of bold type."""
    return _EMPHASIS.sub("", _LINK.sub(r"\1", line))


def _front_matter(text: str, *, where: str) -> dict[str, str]:
    if len(text) > _FRONT_CHARS:
        raise DataError(f"{where}: front matter longer than {_FRONT_CHARS} characters; close it with a line `---`")
    try:
        # BaseLoader keeps every value a string: a source may be a bare year.
        meta = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise DataError(f"{where}: front matter cannot be read: {' '.join(str(err).split())}") from None
    if not isinstance(meta, dict) or not all(isinstance(meta.get(key, ""), str) for key in _KEYS):
        raise DataError(f"{where}: front matter must hold {', '.join(_KEYS)} as text")
    return {key: meta[key] for key in _KEYS if meta.get(key)}
