"""Small copies of public sets on the disk: the layout is exact, the images are a few pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from PIL import Image

from fundus_ray.data.labelled import BadRow, Labelled

WIDTH, HEIGHT = 12, 8


def photo(path: Path, *, value: int = 90) -> Path:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, dtype=np.uint8)).save(path)
    return path


def mask(path: Path, *greys: int, mode: str = "L") -> Path:
    """A black mask whose first pixels have these grey values; in mode RGBA they are red and all of it is opaque."""
    grey = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    grey[0, : len(greys)] = greys
    zero, opaque = np.zeros_like(grey), np.full_like(grey, 255)
    pixels = np.stack([grey, zero, zero, opaque], axis=2) if mode == "RGBA" else grey
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def text(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


def workbook(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """An XLSX file with these rows in its first sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(path)
    return path


def good(items: Iterable[Labelled | BadRow]) -> dict[str, Labelled]:
    """The rows by key; a bad one fails the test."""
    rows = list(items)
    assert [item for item in rows if isinstance(item, BadRow)] == []
    return {item.key: item for item in rows if isinstance(item, Labelled)}


def bad(items: Iterable[Labelled | BadRow]) -> list[tuple[str, str]]:
    """(where, kind) of the bad rows."""
    return [(item.where, item.kind) for item in items if isinstance(item, BadRow)]
