"""Small copies of public data sets: files that a test writes in a set's own layout."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from PIL import Image

from fundus_ray.data.labelled import BadRow, Labelled


def picture(path: Path, *, value: int = 90) -> Path:
    """An even RGB image of 8 x 8 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(path, format="PNG")
    return path


def mask(path: Path, *, lesion: int, background: int) -> Path:
    """A grey image of 8 x 8 px with a square of 2 x 2 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8), background, dtype=np.uint8)
    pixels[2:4, 2:4] = lesion
    Image.fromarray(pixels).save(path)
    return path


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A CSV file with the columns of the first row, after a byte order mark, as Excel saves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def sheet(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """An Excel file of these cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return path


def good(items: Iterable[Labelled | BadRow]) -> dict[str, Labelled]:
    """The labelled images by key."""
    return {item.key: item for item in items if isinstance(item, Labelled)}


def bad(items: Iterable[Labelled | BadRow]) -> list[tuple[str, str, str]]:
    """(place, kind, why) of each row that was left out."""
    return [(item.where, item.kind, item.why) for item in items if isinstance(item, BadRow)]
