"""Folders of documents in, passages out, and a line for each file or row that was left out.

Read are the shipped passages, the folder of `knowledge.passages_dir` (their ids begin with `user/`) and, on request,
the Human Phenotype Ontology (`hpo/`).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fundus_ray.bars import Bar
from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge import hpo
from fundus_ray.knowledge.document import Contents, Document
from fundus_ray.knowledge.formats import html, jats, jsonl, markdown, plain
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.split import clean, passages
from fundus_ray.knowledge.vocabulary import HERE

PASSAGES_DIR = HERE / "passages"
# The longest article of PubMed Central is below this as text. What is larger holds data or pictures, and a parsed page
# takes some fifty times its size in memory.
MAX_BYTES = 5_000_000
MAX_ID_BYTES = 400  # Elasticsearch refuses ids above 512 bytes, and `#NUMBER` is added
READERS: dict[str, Callable[..., Contents]] = {
    ".md": markdown.read,
    ".html": html.read,
    ".htm": html.read,
    ".txt": plain.read,
    ".jsonl": jsonl.read,
    ".xml": jats.read,
    ".nxml": jats.read,  # as PubMed Central's packages name them
}
_BAR_FROM = 100  # files; fewer are read in less than a second
_SHOWN_KINDS = 5


@dataclass(frozen=True, slots=True)
class Ingested:
    """Passages in the order of their files, problems one line each, and how many files gave passages."""

    passages: tuple[Passage, ...]
    problems: tuple[str, ...]
    files: int


@dataclass(slots=True)
class _Reading:
    """What has been read of one folder."""

    tokens: int
    passages: list[Passage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # document name -> where it was read
    files: int = 0


def ingest(config: KnowledgeConfig) -> Ingested:
    """All passages that the settings name.

    Raises DataError where a shipped file is broken or `knowledge.passages_dir` is no folder, ConfigError where
    `knowledge.hpo` is on and its package missing. A user's malformed files are only named in `problems`.
    """
    shipped = read_folder(PASSAGES_DIR, tokens=config.passage_tokens)
    if shipped.problems:
        more = f" (and {len(shipped.problems) - 1} more)" if len(shipped.problems) > 1 else ""
        raise DataError(f"shipped passage: {shipped.problems[0]}{more}; install fundus_ray again")
    parts = [shipped]
    if config.passages_dir:
        parts.append(read_folder(Path(config.passages_dir), prefix="user/", tokens=config.passage_tokens))
    if config.hpo:
        parts.append(Ingested(_of_documents(hpo.documents(), prefix="hpo/", tokens=config.passage_tokens), (), 0))
    return Ingested(
        passages=tuple(passage for part in parts for passage in part.passages),
        problems=tuple(problem for part in parts for problem in part.problems),
        files=sum(part.files for part in parts),
    )


def read_folder(folder: Path, *, prefix: str = "", tokens: int) -> Ingested:
    """The passages of every document below the folder, by path. Links are followed, each folder is read once.

    Raises DataError where there is no such folder; all else that is wrong is a line of `problems`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of passages; set knowledge.passages_dir to one")
    reading = _Reading(tokens=tokens)
    files = _files(folder, reading.problems)
    bar = Bar(files, desc=f"reading {folder.name}", unit="file", mininterval=0.5, disable=len(files) < _BAR_FROM)
    for file in bar:
        before = len(reading.passages)
        _add_file(reading, file, name=prefix + _name(file, folder))
        reading.files += len(reading.passages) > before
    if not reading.passages:
        reading.problems.append(f"{_shown(folder)}: no passage in it; put documents there ({', '.join(READERS)})")
    return Ingested(tuple(reading.passages), tuple(reading.problems), reading.files)


def _files(folder: Path, problems: list[str]) -> list[Path]:
    """Files with a reader, sorted by path. What is skipped is counted in one line of `problems`."""
    found: list[Path] = []
    skipped: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()

    def unreadable(err: OSError) -> None:
        problems.append(f"{_shown(err.filename)}: folder cannot be read: {err.strerror}; check its permissions")

    for here, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        info = os.stat(here)
        if (info.st_dev, info.st_ino) in seen:  # a link leads back to it
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        skipped["hidden"] += sum(name.startswith(".") for name in [*folders, *names])
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            kind = os.path.splitext(name)[1].lower()
            if not name.startswith("."):
                if kind in READERS:
                    found.append(Path(here, name))
                else:
                    skipped[clean(kind)[:20] or "no extension"] += 1
    if skipped.total():
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(_SHOWN_KINDS) if count)
        problems.append(f"{_shown(folder)}: {skipped.total()} skipped ({kinds}); read are {', '.join(READERS)}")
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _add_file(reading: _Reading, file: Path, *, name: str) -> None:
    where = _shown(file)
    try:
        contents = READERS[file.suffix.lower()](_bytes(file, where=where), where=where)
    except DataError as err:
        reading.problems.append(str(err))
        return
    reading.problems += contents.problems
    if not contents.documents and not contents.problems:
        reading.problems.append(f"{where}: no text in it; remove it or fill it")
    for document in contents.documents:
        own_name = f"{name}/{clean(document.name)}" if document.name else name
        at = f"{where} ({clean(document.name)[:80]})" if document.name else where
        problem = _refusal(reading, own_name, at=at)
        if problem:
            reading.problems.append(problem)
            continue
        made = passages(_with_defaults(document, file=file), name=own_name, tokens=reading.tokens)
        if not made:
            reading.problems.append(f"{at}: no text in it; remove it or fill it")
        reading.passages += made
        reading.names[own_name] = at


def _refusal(reading: _Reading, name: str, *, at: str) -> str:
    if len(name.encode()) > MAX_ID_BYTES:
        return f"{at}: its path or id is longer than {MAX_ID_BYTES} bytes; shorten it"
    if name in reading.names:
        return f"{at}: the id {name!r} belongs to {reading.names[name]} already; rename one"
    return ""


def _bytes(file: Path, *, where: str) -> bytes:
    try:
        # Opening a pipe would wait for a writer, so look first.
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{where}: not a regular file; remove it")
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as err:
        raise DataError(f"{where}: cannot be read: {err.strerror}; check link and permissions") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{where}: larger than {MAX_BYTES // 1_000_000} MB; split it")
    return data


def _with_defaults(document: Document, *, file: Path) -> Document:
    return Document(
        sections=document.sections,
        title=clean(document.title) or clean(file.stem) or "untitled",
        source=clean(document.source) or clean(file.name) or "unknown",
        url=document.url,
        licence=document.licence,
    )


def _of_documents(documents: Iterable[Document], *, prefix: str, tokens: int) -> tuple[Passage, ...]:
    return tuple(p for document in documents for p in passages(document, name=prefix + document.name, tokens=tokens))


def _name(file: Path, folder: Path) -> str:
    """The path below the folder. Only Markdown, the shipped format, goes without its extension."""
    path = file.relative_to(folder)
    return _shown(path.with_suffix("") if path.suffix.lower() == ".md" else path)


def _shown(path: str | Path) -> str:
    """A path that prints on one line, whatever bytes its name has."""
    return clean(os.fsencode(path).decode("utf-8", "backslashreplace"))
