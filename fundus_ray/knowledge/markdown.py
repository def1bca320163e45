"""Markdown files in, passages out: one a section (`## heading`), with the file's title, source and licence.

A file may open with front matter (`title`, `source`, `licence` between `---` lines). Without it the title is the first
`# heading` or the file's name, the source is the file's name and the licence is unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from fundus_ray.errors import DataError

_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_SECTION = re.compile(r"^##[ \t]+(\S.*)$", re.MULTILINE)
_TITLE = re.compile(r"^#[ \t]+(\S.*)$", re.MULTILINE)
_KEYS = ("title", "source", "licence")


@dataclass(frozen=True, slots=True)
class Passage:
    """One section of one file: the unit that is retrieved."""

    id: str  # FILE#SECTION, unique in its folder
    title: str
    text: str
    source: str
    licence: str


def read_folder(folder: Path, *, prefix: str = "") -> tuple[Passage, ...]:
    """The passages of every *.md below the folder, sorted by path. Raises DataError naming what cannot be read."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of passages (knowledge.passages_dir)")
    passages: list[Passage] = []
    for file in sorted(folder.rglob("*.md")):
        name = prefix + file.relative_to(folder).with_suffix("").as_posix()
        passages += split(_read(file), name=name, file=file)
    return tuple(passages)


def split(text: str, *, name: str, file: Path) -> list[Passage]:
    """The sections of one file's text; what precedes the first heading is section 0. Raises DataError naming `file`."""
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    meta = _front_matter(front.group(1), file=file) if front else {}
    body = text[front.end() :] if front else text
    heading = _TITLE.search(body)
    title = meta.get("title") or (heading.group(1).strip() if heading else file.stem)
    cuts = list(_SECTION.finditer(body))
    ends = [cut.start() for cut in cuts] + [len(body)]
    sections = [("", body[: ends[0]])]
    sections += [(cut.group(1).strip(), body[cut.end() : end]) for cut, end in zip(cuts, ends[1:], strict=True)]
    return [
        Passage(
            id=f"{name}#{number}",
            title=f"{title}: {section}" if section else title,
            text=" ".join(_TITLE.sub("", content).split()),
            source=meta.get("source") or file.name,
            licence=meta.get("licence") or "unknown",
        )
        for number, (section, content) in enumerate(sections)
        if _TITLE.sub("", content).strip()
    ]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file}: passage cannot be read: {' '.join(str(err).split())}") from None


def _front_matter(text: str, *, file: Path) -> dict[str, str]:
    try:
        # BaseLoader keeps every value a string: a source may be a bare year.
        meta = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as err:
        raise DataError(f"{file}: front matter cannot be read: {' '.join(str(err).split())}") from None
    if not isinstance(meta, dict) or not all(isinstance(meta.get(key, ""), str) for key in _KEYS):
        raise DataError(f"{file}: front matter must hold {', '.join(_KEYS)} as text")
    return {key: meta[key] for key in _KEYS if meta.get(key)}
