"""What a reader of one format hands on: documents of sections of paragraphs, and what it could not read.

Text here is as the file has it; `split` cleans it on its way into passages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fundus_ray.errors import DataError


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one heading. A heading below another carries it: `Signs > Early signs`."""

    heading: str  # "" for what precedes the first heading
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its provenance; "" where the file does not say."""

    sections: tuple[Section, ...]
    title: str = ""
    source: str = ""
    url: str = ""
    licence: str = ""
    name: str = ""  # within its file, where a file holds several documents


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file holds. `problems` are rows left out, one line each that names file and row."""

    documents: tuple[Document, ...]
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Outline:
    """Builds sections from a stream of headings, text and paragraph ends."""

    _sections: list[tuple[str, list[str]]] = field(default_factory=lambda: [("", [])])
    _path: list[tuple[int, str]] = field(default_factory=list)
    _paragraph: list[str] = field(default_factory=list)

    def heading(self, text: str, *, level: int) -> None:
        """Start a section below the last heading of a smaller level. An empty heading does not show in the path."""
        self.end_paragraph()
        text = " ".join(text.split())
        self._path = [step for step in self._path if step[0] < level] + [(level, text)]
        path = " > ".join(step for _, step in self._path if step)
        # A document that opens with its own title has no section before it.
        if path or self._sections != [("", [])]:
            self._sections.append((path, []))

    def text(self, text: str) -> None:
        """Add to the present paragraph."""
        self._paragraph.append(text)

    def end_paragraph(self) -> None:
        """What follows is another paragraph."""
        paragraph = "".join(self._paragraph)
        self._paragraph.clear()
        if paragraph and not paragraph.isspace():
            self._sections[-1][1].append(paragraph)

    def sections(self) -> tuple[Section, ...]:
        """All sections so far, those without text among them, so that a section's number is its place in the file."""
        self.end_paragraph()
        return tuple(Section(heading, tuple(paragraphs)) for heading, paragraphs in self._sections)


def decode_utf8(data: bytes, *, where: str, offset: int = 0) -> str:
    """Text of UTF-8 bytes, without a byte order mark. Raises DataError with the first bad byte's offset in the file."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        raise DataError(
            f"{where}: not UTF-8 at byte {offset + err.start} (0x{data[err.start]:02x}); save it as UTF-8"
        ) from None
