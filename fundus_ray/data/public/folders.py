"""Sets whose only label is the folder that an image lies in.

In: class folders, with what each stands for. Out: (place, image) of every image, and one place for a folder that no
class is known for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from fundus_ray.data.labelled import BadRow, Labelled
from fundus_ray.data.public.layout import folders_in, images_in
from fundus_ray.data.public.reading import RowError, attempt
from fundus_ray.errors import DataError

Meaning = TypeVar("Meaning")


@dataclass(frozen=True, slots=True)
class InFolder:
    """An image in a class folder; `image` None = the whole folder, which is no known class."""

    folder: str
    image: Path | None


def images_by_class(
    root: Path, classes: Collection[str], *, beside: Collection[str] = ()
) -> Iterator[tuple[str, InFolder]]:
    """(place, image) of each class folder below `root`, by name in any letter case. `beside`: folders of other use."""
    known = {name.casefold() for name in classes}
    for folder in folders_in(root):
        if folder.name in beside:
            continue
        if folder.name.strip().casefold() not in known:
            yield folder.name, InFolder(folder.name, None)
            continue
        for image in images_in(folder):
            yield f"{folder.name}/{image.name}", InFolder(folder.name, image)


def class_of(found: InFolder, classes: Mapping[str, Meaning]) -> tuple[Path, str, Meaning]:
    """(image, the class's name as written in `classes`, what it stands for). Raises RowError on an unknown folder."""
    by_case = {name.casefold(): name for name in classes}
    name = by_case.get(found.folder.strip().casefold())
    if found.image is None or name is None:
        allowed = ", ".join(classes)
        raise RowError("unknown code", f"folder {found.folder!r} is no class of the set; allowed are {allowed}")
    return found.image, name, classes[name]


def foldered_rows(
    source: str, rows: Iterable[tuple[str, InFolder]], row_of: Callable[[InFolder], Labelled]
) -> Iterator[Labelled | BadRow]:
    """Each (place, image) through `row_of`; what goes wrong becomes a BadRow."""
    for where, found in rows:
        yield attempt(source, where, partial(row_of, found))


def class_folder(root: Path, *choices: str, classes: Collection[str]) -> Path:
    """The first of `choices` below `root` that holds a class folder. Raises DataError where none does."""
    known = {name.casefold() for name in classes}
    for choice in choices:
        folder = root / choice
        if folder.is_dir() and any(child.name.strip().casefold() in known for child in folders_in(folder)):
            return folder
    raise DataError(f"{root}: no class folder ({', '.join(list(classes)[:5])}, ...) in {', '.join(map(repr, choices))}")
