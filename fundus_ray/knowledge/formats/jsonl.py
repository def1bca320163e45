"""JSONL in, one document a line out. `text` is required; title, section, source, url, licence and id are optional."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Contents, Document, Section, decode_utf8

_OPTIONAL = ("title", "section", "source", "url", "licence", "id")
_NAMED_ROWS = 100  # bad ones of a file; the rest are counted, or a file of another kind fills the screen


def read(data: bytes, *, where: str) -> Contents:
    """The rows that can be read; the others are named by file and row. A row without `id` is named by its number."""
    documents: list[Document] = []
    problems: list[str] = []
    bad = 0
    ignored: dict[str, int] = {}  # key -> its first row
    for number, offset, line in _lines(data):
        row_where = f"{where}:{number}"
        try:
            row = _row(decode_utf8(line, where=row_where, offset=offset), where=row_where)
        except DataError as err:
            bad += 1
            if bad <= _NAMED_ROWS:
                problems.append(str(err))
            continue
        for key in row.keys() - {"text", *_OPTIONAL}:
            ignored.setdefault(key, number)
        documents.append(_document(row, number=number))
    if bad > _NAMED_ROWS:
        problems.append(f"{where}: {bad - _NAMED_ROWS} more rows left out; mend those above first")
    if ignored:
        keys = ", ".join(f"{key!r} (row {ignored[key]})" for key in sorted(ignored)[:5])
        problems.append(f"{where}: unknown keys ignored: {keys}; a row has text, {', '.join(_OPTIONAL)}")
    return Contents(tuple(documents), tuple(problems))


def _lines(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(row number, byte offset, bytes) of each line that is not blank."""
    offset = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, offset, line
        offset += len(line) + 1


def _row(text: str, *, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except RecursionError:
        raise DataError(f"{where}: nested too deeply; a row is one flat object") from None
    except ValueError as err:
        raise DataError(f"{where}: not JSON: {' '.join(str(err).split())}; write one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f'{where}: not an object; write {{"text": "..."}}')
    for key in ("text", *_OPTIONAL):
        if key in row and row[key] is not None and not isinstance(row[key], str):
            raise DataError(f"{where}: {key} must be text in quotes, got {str(row[key])[:40]!r}")
    if not (row.get("text") or "").strip():
        raise DataError(f"{where}: `text` is missing or empty")
    return row


def _document(row: dict[str, Any], *, number: int) -> Document:
    return Document(
        sections=(Section(row.get("section") or "", tuple(row["text"].split("\n\n"))),),
        title=row.get("title") or "",
        source=row.get("source") or "",
        url=row.get("url") or "",
        licence=row.get("licence") or "",
        name=row.get("id") or str(number),
    )
