"""Contact sheets: one row a disease, each phantom with its findings' names beneath, as a PNG to look at.

In: the file to write. Out: RGB picture; every phantom is the one that is rendered for the seed printed with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fundus_ray.bars import Bar
from fundus_ray.data.rendered.drawn import Drawn
from fundus_ray.data.rendered.kinds import Kind, kind_of
from fundus_ray.data.rendered.phantoms import DISEASES, FINDING_RATES, render
from fundus_ray.errors import DataError

TEXT_PX = 11
MARGIN_PX = 6
ENOUGH_SEEDS = 60  # among so many, every title of a kind has come up
INK = (230, 40, 40), (40, 120, 255), (20, 150, 60), (220, 140, 0), (180, 60, 220), (0, 170, 180), (120, 120, 120)


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture [H, W, 3] and the lines beneath it, each with its colour."""

    pixels: NDArray[np.uint8]
    caption: tuple[tuple[str, tuple[int, int, int]], ...]


def write_sheet(out: Path, *, columns: int = 8, image_px: int = 168) -> None:
    """The quickstart's phantoms, each disease's row filled with the first seeds that drew it. Raises DataError where
    `out` cannot be written."""
    _check(columns)
    rows: dict[str, list[Cell]] = {disease: [] for disease in DISEASES}
    with Bar(total=columns * len(DISEASES), desc="rendering phantoms", unit="image") as bar:
        for seed in count():
            phantom = render(seed, image_px=image_px)
            if len(rows[phantom.disease]) < columns:
                rows[phantom.disease].append(Cell(phantom.pixels, _lines(f"phantom-{seed}", phantom.findings)))
                bar.update()
            if bar.n == bar.total:
                break
    _write(out, rows, columns=columns, lines=1 + max(map(len, FINDING_RATES.values())))


def write_graded_sheet(out: Path, *, kind: str, columns: int = 8, image_px: int = 224, outlines: bool = False) -> None:
    """The graded phantoms of a kind, a row for each grade or stage; outlines: round each finding's mask, in the colour
    of its name. Raises DataError for an unknown kind, or where `out` cannot be written."""
    _check(columns)
    rows = _first_of_each(kind_of(kind), columns=columns, image_px=image_px, outlines=outlines)
    lines = max(len(cell.caption) for cells in rows.values() for cell in cells)
    _write(out, dict(sorted(rows.items())), columns=columns, lines=lines)


def _check(columns: int) -> None:
    if columns < 1:
        raise DataError(f"a contact sheet needs at least 1 column, not {columns}")


def _first_of_each(kind: Kind, *, columns: int, image_px: int, outlines: bool) -> dict[str, list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    with Bar(desc=f"rendering {kind.source}", unit="image") as bar:
        for seed in count():
            drawn = kind.draw(seed, image_px=image_px)
            bar.update()
            cells = rows.setdefault(drawn.title, [])
            if len(cells) < columns:
                cells.append(_outlined(drawn, seed) if outlines else Cell(drawn.pixels, _lines(seed, drawn.findings)))
            if seed >= ENOUGH_SEEDS and all(len(cells) == columns for cells in rows.values()):
                return rows
    raise AssertionError("count() does not end")


def _lines(name: object, findings: Sequence[str]) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    return tuple((str(text).replace("_", " "), (0, 0, 0)) for text in (name, *findings))


def _outlined(drawn: Drawn, seed: int) -> Cell:
    """The picture with its masks' borders, disc and fovea."""
    pixels = drawn.pixels.copy()
    caption = [(str(seed), (0, 0, 0))]
    for ink, (finding, mask) in zip(_inks(), drawn.masks.items(), strict=False):
        pixels[mask & ~ndimage.binary_erosion(mask)] = ink
        number = f" ({drawn.counts[finding]})" if finding in drawn.counts else ""
        caption.append((finding.replace("_", " ") + number, ink))
    for point in (drawn.disc, drawn.fovea):
        if point is not None:
            column, row = round(point[0]), round(point[1])
            pixels[row, max(column - 3, 0) : column + 4] = pixels[max(row - 3, 0) : row + 4, column] = (255, 255, 255)
    return Cell(pixels, tuple(caption))


def _inks() -> Iterator[tuple[int, int, int]]:
    for _ in count():
        yield from INK


def _write(out: Path, rows: Mapping[str, Sequence[Cell]], *, columns: int, lines: int) -> None:
    font = ImageFont.load_default(size=TEXT_PX)
    height, width = next(iter(rows.values()))[0].pixels.shape[:2]
    cell_w, cell_h = width + MARGIN_PX, height + (lines + 1) * (TEXT_PX + 2)
    title_h = 2 * TEXT_PX
    sheet = Image.new("RGB", (columns * cell_w + MARGIN_PX, len(rows) * (cell_h + title_h)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, cells) in enumerate(rows.items()):
        top = row * (cell_h + title_h)
        draw.text((MARGIN_PX, top + 4), title, fill="black", font=font, stroke_width=0.3)
        for column, cell in enumerate(cells):
            left = MARGIN_PX + column * cell_w
            sheet.paste(Image.fromarray(cell.pixels), (left, top + title_h))
            for line, (text, ink) in enumerate(cell.caption):
                draw.text((left, top + title_h + height + 2 + line * (TEXT_PX + 2)), text, fill=ink, font=font)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except (OSError, ValueError) as err:
        raise DataError(f"{out}: the contact sheet cannot be written: {err}") from None
