"""What a reader made of a replica that has bad rows on purpose, and the tables of such a replica."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from replica import HEIGHT, WIDTH

from fundus_ray.data.labelled import BadRow, Labelled


def kept(items: Iterable[Labelled | BadRow]) -> dict[str, Labelled]:
    """The labelled images by key."""
    return {item.key: item for item in items if isinstance(item, Labelled)}


def left_out(items: Iterable[Labelled | BadRow]) -> list[tuple[str, str, str]]:
    """(where, kind, why) of the bad rows."""
    return [(item.where, item.kind, item.why) for item in items if isinstance(item, BadRow)]


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A CSV file with the columns of the first row, after a byte order mark, as Excel saves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def black_on_white(path: Path, *, lesion: bool = True) -> Path:
    """A white mask with a black square, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    pixels[2:4, 2:4] = 0 if lesion else 255
    Image.fromarray(pixels).save(path)
    return path
