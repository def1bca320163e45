"""What the readers share: codes of a row, files below a root, and bad rows as `BadRow` instead of an exception.

In: table rows and one pure function a set, row -> `Labelled`. Out: `Labelled | BadRow`, in the file's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from fundus_ray.data.labelled import BadRow, Labelled
from fundus_ray.data.tables import TableRow

DR_GRADES = {str(grade): grade for grade in range(5)}
UNGRADABLE = "5"  # DDR and DeepDRiD write this grade for an image that cannot be graded
NO_OR_YES = {"0": False, "1": True}

T = TypeVar("T")


class RowError(Exception):
    """What is wrong with one row; `kind` is what it is counted under."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind
        self.why = why


def code(cells: Mapping[str, str], column: str, allowed: Mapping[str, T]) -> T:
    """What the cell's code stands for; 2.0 is read as 2. Raises RowError where it is empty or not among `allowed`."""
    value = cells[column].removesuffix(".0")
    if not value:
        raise RowError("missing value", f"{column} is empty; allowed are {', '.join(allowed)}")
    if value not in allowed:
        raise RowError("unknown code", f"{column} is {value!r}; allowed are {', '.join(allowed)}")
    return allowed[value]


def grade_or_ungradable(cells: Mapping[str, str], column: str) -> tuple[int | None, bool]:
    """(DR grade, gradable) of a cell in which 5 means that the image cannot be graded."""
    grade = code(cells, column, {**DR_GRADES, UNGRADABLE: None})
    return grade, grade is not None


def person_and_eye(name: str) -> tuple[str, str]:
    """(patient, "L" or "R") of an image that is named <patient>_left or <patient>_right. Raises RowError otherwise."""
    match = re.fullmatch(r"(\d+)_(left|right)", name)
    if not match:
        raise RowError("unknown name", f"image {name!r} is not named <number>_left or <number>_right")
    return match[1], match[2][0].upper()


class Files:
    """The files below a set's root, found whatever the letter case of their names; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, key: str) -> Path:
        """The file at `key`, a path below the root with `/`. Raises RowError where there is none."""
        found = self.find_any(key)
        if found is None:
            raise RowError("missing file", f"{key} does not exist in {self.root}")
        return found

    def find_any(self, key: str) -> Path | None:
        """The same, or None."""
        path = PurePosixPath(key)
        listing = self._listing(str(path.parent))
        name = listing.get(path.name) or listing.get(path.name.casefold())
        return self.root / path.parent / name if name else None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in their order; none where it does not exist."""
        return sorted(set(self._listing(folder).values()))

    def _listing(self, folder: str) -> dict[str, str]:
        """Name, and name in lower case -> name as it stands on the disk."""
        if folder not in self._listings:
            path = self.root / folder
            names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
            self._listings[folder] = {name.casefold(): name for name in names} | {name: name for name in names}
        return self._listings[folder]


def rows_of(
    source: str, rows: Iterable[TableRow], row_of: Callable[[Mapping[str, str]], Labelled], *, files: Files
) -> Iterator[Labelled | BadRow]:
    """Each table row through `row_of`, with its image as it lies on the disk; what goes wrong becomes a BadRow."""
    for row in rows:
        yield attempt(source, row.where, partial(_with_file, row_of, row.cells, files))


def attempt(source: str, where: str, make: Callable[[], Labelled]) -> Labelled | BadRow:
    """What `make` returns, or the BadRow of its RowError."""
    try:
        return make()
    except RowError as err:
        return BadRow(source, where, err.why, err.kind)


def _with_file(row_of: Callable[[Mapping[str, str]], Labelled], cells: Mapping[str, str], files: Files) -> Labelled:
    row = row_of(cells)
    return replace(row, image=files.find(row.key))
