"""Published results of other models, to stand beside ours: a CSV of `model,source` and columns named as in scores.json.

`source` says where the row was read; an empty cell is a number that the source does not give; numbers are shares in
[0, 1] of the same metric.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fundus_ray.errors import DataError

OVERALL = "overall"
_ABOUT = ("model", "source")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One model's numbers, never our own measurement."""

    model: str
    source: str
    scores: Mapping[str, float]  # name of a level or task, or "overall" -> score


def read_published(path: Path, names: Collection[str]) -> list[PublishedRow]:
    """The rows. `names`: the columns that there may be. Raises DataError naming file, line, column and value."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            if unknown := [name for name in columns if name not in (*_ABOUT, *names)]:
                allowed = ", ".join((*_ABOUT, *sorted(names)))
                raise DataError(f"{path}: unknown column {unknown[0]!r}; allowed: {allowed}")
            if missing := [name for name in _ABOUT if name not in columns]:
                raise DataError(f"{path}: no column {missing[0]!r}")
            return [_row(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"--published {path} cannot be read: {err}") from None


def _row(path: Path, line: int, row: Mapping[str | None, str | None]) -> PublishedRow:
    if None in row or None in row.values() or not row["model"] or not row["source"]:
        raise DataError(f"{path} line {line}: needs model, source and one cell for each column")
    scores = {str(name): _share(path, line, str(name), str(v)) for name, v in row.items() if name not in _ABOUT and v}
    return PublishedRow(str(row["model"]), str(row["source"]), scores)


def _share(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DataError(f"{path} line {line}: {name}={text} must be a number in [0, 1]; write 53.5 % as 0.535")
    return value
