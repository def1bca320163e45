"""Label files as public sets ship them: CSV, XLSX and lists of lines.

In: a file and the columns that are needed. Out: rows of text cells, each with its file and line. A column is found
whatever its letter case, spaces, underscores and hyphens: IDRiD's `Risk of macular edema ` ends in a space.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from fundus_ray.errors import DataError


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: `where` is the file's name and the line from 1; `cells` maps each asked column to its stripped text."""

    where: str
    cells: Mapping[str, str]


def read_table(
    path: Path,
    *,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Iterator[TableRow]:
    """The rows below the header of a .csv or .xlsx (its first sheet) that are not blank; cells that a row lacks are "".

    `optional` columns are left out of `cells` where the file lacks them. `renamed` maps another name that a release
    gives a column to the one that is asked for. Raises DataError where the file is missing or unreadable, or a column
    is missing or stands there twice.
    """
    rows = _xlsx_rows(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path)
    _, header = next(rows, (0, []))
    at = _positions(path, header, columns=columns, optional=optional, renamed=renamed or {})
    for line, cells in rows:
        if any(cells):
            yield TableRow(
                where=f"{path.name}:{line}",
                cells={column: cells[i] if i < len(cells) else "" for column, i in at.items()},
            )


def read_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(file name and row from 1, cells) of the first sheet of an .xlsx whose header is no single row, blank rows left
    out. Raises DataError where the file is missing or unreadable."""
    for number, cells in _xlsx_rows(path):
        if any(cells):
            yield f"{path.name}:{number}", cells


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(file name and line from 1, stripped text) of the lines that are not blank. Raises DataError as read_table."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path.name}:{number}", line.strip()
    except OSError as err:
        raise _unreadable(path, err) from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not UTF-8 text (byte {err.start} of what was read); save it as UTF-8") from None


def _positions(
    path: Path, header: Sequence[str], *, columns: Sequence[str], optional: Sequence[str], renamed: Mapping[str, str]
) -> dict[str, int]:
    """Column -> its place in the rows."""
    other = {_plain(name): _plain(ours) for name, ours in renamed.items()}
    names = [other.get(_plain(name), _plain(name)) for name in header]
    missing = [column for column in columns if _plain(column) not in names]
    if missing:
        shown = ", ".join(filter(None, header)) or "nothing"
        raise DataError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has {shown}"
        )
    wanted = [column for column in (*columns, *optional) if _plain(column) in names]
    twice = [column for column in wanted if names.count(_plain(column)) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]} twice; leave one")
    return {column: names.index(_plain(column)) for column in wanted}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                yield reader.line_num, [cell.strip() for cell in cells]
    except OSError as err:
        raise _unreadable(path, err) from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not UTF-8 text (byte {err.start} of what was read); save it as UTF-8") from None
    except csv.Error as err:
        raise DataError(f"{path}:{reader.line_num} is not CSV: {err}") from None


def _xlsx_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
    except OSError as err:
        raise _unreadable(path, err) from None
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as err:
        raise DataError(f"{path} is not an XLSX workbook: {' '.join(str(err).split())}") from None
    try:
        sheet = workbook.worksheets[0]
        sheet.reset_dimensions()  # some writers state a range that is too small
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield number, [_text(cell) for cell in cells]
    finally:
        workbook.close()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # spreadsheets know no whole numbers
    return str(value).strip()


def _unreadable(path: Path, err: OSError) -> DataError:
    if not isinstance(err, FileNotFoundError):
        return DataError(f"{path} cannot be read: {err.strerror or err}")
    try:
        near = ", ".join(sorted(entry.name for entry in islice(path.parent.iterdir(), 5)))
    except OSError:
        return DataError(f"{path} does not exist, nor does its folder; is --root the set's own top folder?")
    return DataError(f"{path} does not exist; its folder holds {near or 'nothing'}")
