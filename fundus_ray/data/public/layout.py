"""Where the files of a public set lie: the layouts in which it is shipped.

In: the folder that the user names. Out: paths below it; a DataError that lists what was looked for. `located_rows` is
for sets whose key (FunBench's name of the image) is not where every release lays the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from fundus_ray.data.labelled import BadRow, Labelled
from fundus_ray.data.public.reading import Files, RowError, attempt
from fundus_ray.errors import DataError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}

Row = TypeVar("Row")


def first_of(root: Path, *choices: str, what: str) -> str:
    """The first of `choices` (paths below `root`, "." for itself) that exists. Raises DataError naming all of them."""
    for choice in choices:
        if (root / choice).exists():
            return choice
    raise DataError(f"{root}: {what} not found; looked for {', '.join(map(repr, choices))}")


def image_folder(root: Path, *choices: str, what: str) -> Path:
    """The first of `choices` that holds an image itself. Raises DataError naming all of them."""
    for choice in choices:
        if (root / choice).is_dir() and next(images_in(root / choice), None):
            return root / choice
    raise DataError(f"{root}: {what} not found; looked for images in {', '.join(map(repr, choices))}")


def mask_folders(root: Path, *folders: str) -> None:
    """Raises DataError where one of them is missing: a mask file that is absent means an absent lesion only in a folder
    that is there."""
    for folder in folders:
        if not (root / folder).is_dir():
            raise DataError(f"{root / folder} does not exist; without it every image would count as free of it")


def folders_in(folder: Path) -> list[Path]:
    """Sub-folders by name, without hidden ones and those that archive tools leave behind."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def images_in(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    """Image files by name, of sub-folders too where `deep`; hidden files and others (Thumbs.db) are left out."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if deep and not entry.name.startswith((".", "__")):
                yield from images_in(entry, deep=True)
        elif entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith("."):
            yield entry


def file_name(row: Mapping[str, str], column: str) -> str:
    """The name of a file in a cell. Raises RowError where it is empty."""
    if not row[column]:
        raise RowError("missing value", f"{column} is empty; a file name is expected")
    return row[column]


def located_rows(
    source: str, rows: Iterable[tuple[str, Row]], row_of: Callable[[Row], Labelled], *, files: Files
) -> Iterator[Labelled | BadRow]:
    """Each (place, row) through `row_of`, which gives the image's path below the root; what goes wrong is a BadRow, and
    so is a row without a patient."""
    for where, row in rows:
        yield attempt(source, where, partial(_located, row, row_of, files))


def _located(row: Row, row_of: Callable[[Row], Labelled], files: Files) -> Labelled:
    labelled = row_of(row)
    if not labelled.patient_id:
        raise RowError(
            "missing value", "the patient's id is empty; without it one person could be on both sides of a split"
        )
    return replace(labelled, image=files.find(labelled.image.as_posix()))
