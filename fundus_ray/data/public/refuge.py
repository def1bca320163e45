"""REFUGE: 1,200 colour photographs with glaucoma or without, masks of the disc and the place of the fovea."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.discs import disc_of, eye_of
from fundus_ray.data.public.ichallenge import fovea_of
from fundus_ray.data.public.layout import images_in
from fundus_ray.data.public.reading import NO_OR_YES, Files, RowError, attempt, code
from fundus_ray.data.tables import read_table
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "refuge"
GLAUCOMA = ("glaucoma",)
LETTERS = {"g": True, "n": False}  # first letter of a training image
LABEL = "Label"


@dataclass(frozen=True, slots=True)
class Part:
    """Where one split lies: as Kaggle lays it out, then as the challenge does."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    discs: tuple[str, ...]  # masks: 255 background, 128 rim, 0 cup


PARTS = {
    "train": Part(
        ("train/Images", "REFUGE-Training400/Training400", "Training400"),
        ("train/index.json",),
        (
            "train/gts",
            "Annotation-Training400/Disc_Cup_Masks/Glaucoma",
            "Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma",
        ),
    ),
    "val": Part(
        ("val/Images", "REFUGE-Validation400"),
        ("val/index.json", "REFUGE-Validation400-GT/Fovea_locations.xlsx"),
        ("val/gts", "REFUGE-Validation400-GT/Disc_Cup_Masks"),
    ),
    "test": Part(
        ("test/Images", "REFUGE-Test400", "Test400"),
        ("test/index.json", "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx"),
        ("test/gts", "REFUGE-Test-GT/Disc_Cup_Masks/G", "REFUGE-Test-GT/Disc_Cup_Masks/N"),
    ),
}


def row_of(image: Path, *, split: str, cells: Mapping[str, str], files: Files) -> Labelled:
    """One image; `cells` is what the split's label file says of it. A training image is labelled by its first letter, g
    or n, any other by `Label`. No glaucoma does not say that the fundus is normal. No patient is named."""
    glaucoma = LETTERS.get(image.name[0].lower())
    if glaucoma is None and not cells.get(LABEL):
        raise RowError("no label", f"image {image.name!r} starts with neither g nor n, and has no {LABEL}")
    if glaucoma is None:
        glaucoma = code(cells, LABEL, NO_OR_YES)
    key = f"{split}/Images/{image.name}"
    masks = (files.find_any(f"{folder}/{image.stem}.bmp") for folder in PARTS[split].discs)
    mask = next((path for path in masks if path is not None), None)
    disc = disc_of(mask, image=image, on_white=True) if mask else None
    fovea = fovea_of(cells)
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=key,
        eye=eye_of(disc.centre, fovea) if disc and fovea else "",
        official_split=split,
        diagnoses=GLAUCOMA if glaucoma else None,
        absent=() if glaucoma else GLAUCOMA,
        disc=disc.centre if disc else None,
        disc_area_px=disc.area_px if disc else None,
        fovea=fovea,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every image of the splits that are there, and a BadRow for each that a label file names but no folder holds.

    Raises DataError where no split is there or a label file cannot be read.
    """
    folders = {split: _existing(root, part.images) for split, part in PARTS.items()}
    if not any(folders.values()):
        listed = ", ".join(repr(choice) for part in PARTS.values() for choice in part.images)
        raise DataError(f"{root}: images not found; looked for {listed}")
    files = Files(root)
    for split, folder in folders.items():
        if folder is None:
            continue
        said = _label_file(_existing(root, PARTS[split].labels))
        for image in images_in(folder, deep=True):
            cells = said.pop(image.name.lower(), {})
            place = f"{split}/{image.name}"
            yield attempt(NAME, place, partial(row_of, image, split=split, cells=cells, files=files))
        for name in said:
            yield BadRow(NAME, f"{split}/{name}", f"{name} does not exist in {folder}", "missing file")


def _existing(root: Path, choices: tuple[str, ...]) -> Path | None:
    return next((root / choice for choice in choices if (root / choice).exists()), None)


def _label_file(path: Path | None) -> dict[str, Mapping[str, str]]:
    """Image name in lower case -> its Label, Fovea_X and Fovea_Y, as far as the file has them."""
    if path is None:
        return {}
    if path.suffix == ".xlsx":
        names = {"Glaucoma Label": LABEL, "Label(Glaucoma=1)": LABEL}
        rows = read_table(path, columns=("ImgName",), optional=(LABEL, "Fovea_X", "Fovea_Y"), renamed=names)
        return {row.cells["ImgName"].lower(): row.cells for row in rows}
    try:
        records: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = [{name: str(value) for name, value in record.items()} for record in records.values()]
        return {record["ImgName"].lower(): record for record in cells}
    except (OSError, ValueError, AttributeError, KeyError) as err:
        raise DataError(f"{path} is no JSON object of records with ImgName: {type(err).__name__}: {err}") from None


SET = PublicSet(
    name=NAME,
    title="REFUGE",
    modality=Modality.CFP,
    licence="see its page",
    url="https://refuge.grand-challenge.org/",
    patient_key="",
    citation="Orlando et al., REFUGE Challenge, Medical Image Analysis 2020",
    read=read,
    space=Space(alone=GLAUCOMA),
)
