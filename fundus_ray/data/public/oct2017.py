"""OCT2017 (Kermany; FunBench's UCSD): OCT B-scans in folders of four classes, the patient in the file name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.folders import InFolder, class_of, foldered_rows, images_by_class
from fundus_ray.data.public.layout import folders_in
from fundus_ray.data.public.reading import RowError
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "oct2017"
SPLITS = ("train", "val", "test")
CLASSES: dict[str, tuple[str, ...]] = {
    "CNV": ("choroidal neovascularisation",),
    "DME": ("diabetic macular oedema",),
    "DRUSEN": ("drusen",),
    "NORMAL": (),
}
FILE_NAME = re.compile(r"(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+", re.IGNORECASE)


def row_of(found: InFolder, *, split: str) -> Labelled:
    """One B-scan, named `<class>-<patient>-<number>.jpeg`. A patient's number occurs in more than one class."""
    image, folder, diagnoses = class_of(found, CLASSES)
    named = FILE_NAME.fullmatch(image.stem)
    if named is None:
        raise RowError("unknown name", f"image {image.name!r} is not named <class>-<patient>-<number>")
    return Labelled(
        source=NAME,
        key=f"OCT/{split}/{folder}/{image.name}",
        image=image,
        modality=Modality.OCT,
        patient_id=named[1],
        official_split=split,
        diagnoses=diagnoses,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every image of the splits that are there. Raises DataError where none is."""
    folder = _set_folder(root)
    for split in SPLITS:
        if (folder / split).is_dir():
            places = ((f"{split}/{place}", found) for place, found in images_by_class(folder / split, CLASSES))
            yield from foldered_rows(NAME, places, partial(row_of, split=split))


def _set_folder(root: Path) -> Path:
    """The folder that holds train and test: the root, OCT or OCT2017, which Kaggle ships with a space at its end."""
    inside = [child for child in folders_in(root) if child.name.strip() in {"OCT", "OCT2017"}] if root.is_dir() else []
    for folder in (root, *inside):
        if any((folder / split).is_dir() for split in SPLITS):
            return folder
    raise DataError(f"{root}: no folder {', '.join(SPLITS)}; looked for them there, in 'OCT' and in 'OCT2017'")


SET = PublicSet(
    name=NAME,
    title="OCT2017 (Kermany)",
    modality=Modality.OCT,
    licence="see its page",
    url="https://data.mendeley.com/datasets/rscbjbr9sj/3",
    patient_key="second part of the file name",
    citation="Kermany et al., Identifying medical diagnoses by image-based deep learning, Cell 2018",
    read=read,
    space=Space(conditions=once(CLASSES.values())),
)
