"""JSON that every reader accepts: NaN and infinities become null, and say so.

In: dicts of numbers, texts, lists, dataclasses' dicts. Out: files. `write_json` replaces the file in one step, so that
a crash leaves the old one; `JsonLines` flushes each line, so that a crash loses at most the line being written.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError

NON_FINITE = "non_finite"  # key that lists what was written as null
TAIL_BYTES = 1 << 16  # read at once from the end of a file


def line_of(record: Mapping[str, Any]) -> str:
    """One line of JSON. Non-finite top-level numbers become null and are listed under "non_finite" by name."""
    bad = {key: str(value) for key, value in record.items() if isinstance(value, float) and not math.isfinite(value)}
    marked = {**record, NON_FINITE: bad} if bad else record
    return json.dumps(finite(marked), ensure_ascii=False, allow_nan=False)


def lines_of(records: Iterable[Mapping[str, Any]]) -> str:
    """JSONL: each as `line_of`."""
    return "".join(line_of(record) + "\n" for record in records)


def finite(value: Any) -> Any:
    """The same value, with NaN and infinities replaced by None at any depth, and tuples by lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def write_json(path: Path, value: Any) -> None:
    """Write or replace the file as a whole; pretty-printed where small enough to be read."""
    indent = None if isinstance(value, Mapping) and "traceEvents" in value else 2
    write_text(path, json.dumps(finite(value), ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write or replace the file in one step."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def read_json(path: Path) -> Any:
    """The file's value. Raises DataError naming the file where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} cannot be read: {err}") from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file; a last line cut short by a crash is left out. Raises DataError on other bad ones."""
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as err:
            # Only a write that was cut short leaves a last line without its newline.
            if number == len(lines):
                return
            raise DataError(f"{path} line {number} is not JSON: {err}") from None


class JsonLines:
    """A JSONL file being appended to. A last line that a crash or a full disk cut short is removed first: the next one
    would continue it, and the file could not be read any more."""

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write the record as one line and hand it to the operating system."""
        self._file.write(line_of(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        at = file.seek(0, os.SEEK_END)
        while at:
            start = max(0, at - TAIL_BYTES)
            file.seek(start)
            newline = file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        file.truncate(at)
