"""A contact sheet: one row a disease, each phantom with its findings' names beneath, as a PNG to look at.

In: the file to write. Out: RGB picture; every phantom is the one that training renders for the seed printed with it.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from fundus_ray.data.rendered.phantoms import DISEASES, FINDING_RATES, Phantom, render
from fundus_ray.errors import DataError

TEXT_PX = 11
CAPTION_LINES = 1 + max(map(len, FINDING_RATES.values()))  # the id, then the findings
MARGIN_PX = 6


def write_sheet(out: Path, *, columns: int = 8, image_px: int = 168) -> None:
    """Fill each disease's row with the first seeds that drew it. Raises DataError where `out` cannot be written."""
    if columns < 1:
        raise DataError(f"a contact sheet needs at least 1 column, not {columns}")
    font = ImageFont.load_default(size=TEXT_PX)
    cell_w, cell_h = image_px + MARGIN_PX, image_px + (CAPTION_LINES + 1) * (TEXT_PX + 2)
    title_h = 2 * TEXT_PX
    sheet = Image.new("RGB", (columns * cell_w + MARGIN_PX, len(DISEASES) * (cell_h + title_h)), "white")
    draw = ImageDraw.Draw(sheet)
    rows = _first_of_each(columns, image_px=image_px)
    for row, disease in enumerate(DISEASES):
        top = row * (cell_h + title_h)
        draw.text((MARGIN_PX, top + 4), disease, fill="black", font=font, stroke_width=0.3)
        for column, (seed, phantom) in enumerate(rows[disease]):
            left = MARGIN_PX + column * cell_w
            sheet.paste(Image.fromarray(phantom.pixels), (left, top + title_h))
            caption = [f"phantom-{seed}", *(name.replace("_", " ") for name in phantom.findings)]
            draw.text((left, top + title_h + image_px + 2), "\n".join(caption), fill="black", font=font, spacing=2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except (OSError, ValueError) as err:
        raise DataError(f"{out}: the contact sheet cannot be written: {err}") from None


def _first_of_each(columns: int, *, image_px: int) -> dict[str, list[tuple[int, Phantom]]]:
    rows: dict[str, list[tuple[int, Phantom]]] = {disease: [] for disease in DISEASES}
    with tqdm(total=columns * len(DISEASES), desc="rendering phantoms", unit="image") as bar:
        for seed in count():
            phantom = render(seed, image_px=image_px)
            if len(rows[phantom.disease]) < columns:
                rows[phantom.disease].append((seed, phantom))
                bar.update()
            if bar.n == bar.total:
                return rows
    raise AssertionError("count() does not end")
