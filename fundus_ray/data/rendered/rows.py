"""Rendered pictures as a data set on the disk: images, masks, and one `Labelled` each.

In: a kind, seeds and a folder. Out: FOLDER/<source>/images/<seed>.png, masks/<seed>-<finding>.png, and .rows.jsonl in
the form of `fundus-ray data import`. A folder is drawn beside its place and moved there when whole, and drawn once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fundus_ray.bars import Bar
from fundus_ray.data.images import image_ref
from fundus_ray.data.importing import read_imported, record_of
from fundus_ray.data.labelled import Labelled
from fundus_ray.data.rendered.drawn import Drawn
from fundus_ray.data.rendered.kinds import VERSION, Kind
from fundus_ray.errors import DataError
from fundus_ray.obs.strict_json import line_of, read_json, write_json

ROWS, MADE = ".rows.jsonl", ".made.json"  # hidden: a folder of imports holds only what the user sees
SMALLEST_PX, LARGEST_PX = 96, 1024


def labelled_phantoms(
    folder: Path, kind: Kind, *, seeds: Sequence[int], image_px: int, official_split: str = ""
) -> tuple[Labelled, ...]:
    """The pictures of `seeds`, `image_px` wide, with all their labels; each is a patient of its own.

    Raises DataError where `image_px` is out of range, the folder cannot be written or holds other pictures.
    """
    if not SMALLEST_PX <= image_px <= LARGEST_PX:
        raise DataError(f"phantoms are drawn {SMALLEST_PX} to {LARGEST_PX} px wide, not {image_px}")
    place = folder.resolve() / kind.source
    made = {"version": VERSION, "image_px": image_px, "split": official_split, "seeds": list(seeds)}
    if not place.is_dir():
        try:
            _render(place, kind, seeds=seeds, image_px=image_px, official_split=official_split, made=made)
        except OSError as err:
            raise DataError(f"{place} cannot be written: {err.strerror or err}") from None
    elif not (place / MADE).is_file() or read_json(place / MADE) != made:
        raise DataError(f"{place} holds other pictures than those asked for; give another folder, or delete it")
    return tuple(row for row, _ in read_imported(place / ROWS))


def _render(
    place: Path, kind: Kind, *, seeds: Sequence[int], image_px: int, official_split: str, made: dict[str, object]
) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
        part = Path(scratch) / "part"
        (part / "images").mkdir(parents=True)
        (part / "masks").mkdir()
        with (part / ROWS).open("w", encoding="utf-8") as rows:
            for seed in Bar(seeds, desc=f"drawing {kind.source}", unit="image", mininterval=0.5):
                drawn = kind.draw(seed, image_px=image_px)
                row = labelled_of(drawn, seed, kind, folder=place, official_split=official_split)
                _write(drawn, seed, part)
                ref = replace(image_ref(part / "images" / row.image.name), path=str(row.image))
                rows.write(line_of(record_of(row, ref)) + "\n")
        write_json(part / MADE, made)
        part.rename(place)


def labelled_of(drawn: Drawn, seed: int, kind: Kind, *, folder: Path, official_split: str) -> Labelled:
    """What is known of the picture of `seed`, whose files lie in `folder`."""
    return Labelled(
        source=kind.source,
        key=f"{kind.source}/images/{seed}.png",
        image=folder / "images" / f"{seed}.png",
        modality=drawn.modality,
        patient_id=str(seed),
        eye=drawn.eye,
        official_split=official_split,
        diagnoses=drawn.diagnoses,
        dr_grade=drawn.dr_grade,
        amd_stage=drawn.amd_stage,
        findings=drawn.findings,
        masks={finding: folder / "masks" / f"{seed}-{finding}.png" for finding in drawn.masks},
        disc=drawn.disc,
        fovea=drawn.fovea,
        annotated=tuple(dict.fromkeys((*kind.space.lesions, *drawn.findings))),
        disc_area_px=drawn.disc_area_px,
    )


def _write(drawn: Drawn, seed: int, folder: Path) -> None:
    Image.fromarray(drawn.pixels).save(folder / "images" / f"{seed}.png", compress_level=1)
    for finding, mask in drawn.masks.items():
        white = Image.fromarray(mask.astype(np.uint8) * 255)
        white.save(folder / "masks" / f"{seed}-{finding}.png", compress_level=1)
