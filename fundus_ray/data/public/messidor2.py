"""Messidor-2 with the adjudicated grades that are published apart from its images.

messidor_data.csv       image_id, adjudicated_dr_grade, adjudicated_dme, adjudicated_gradable
IMAGES/IM000001.JPG     the table may write another letter case or extension; any folder below the root will do
messidor-2.csv          the two images of each examination, with a semicolon or comma between; may be absent
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.public.reading import DR_GRADES, NO_OR_YES, RowError, attempt, code
from fundus_ray.data.tables import read_lines, read_table
from fundus_ray.types import Modality

NAME = "messidor2"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
COLUMNS = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")


def row_of(cells: Mapping[str, str], *, keys: Mapping[str, list[str]], patients: Mapping[str, str]) -> Labelled:
    """One row. `keys`: lower-case stem -> the images of that name; `patients`: lower-case stem -> examination.

    Grades are read only where the image is gradable. Raises RowError.
    """
    stem = _stem(cells["image_id"])
    found = keys.get(stem, [])
    if not found:
        raise RowError("missing file", f"no image is named {cells['image_id']}, in any letter case or image format")
    if len(found) > 1:
        raise RowError("ambiguous file", f"{cells['image_id']} is {' and '.join(found)}; leave one")
    gradable = code(cells, "adjudicated_gradable", NO_OR_YES)
    return Labelled(
        source=NAME,
        key=found[0],
        image=Path(found[0]),
        modality=Modality.CFP,
        patient_id=patients.get(stem, stem),
        dr_grade=code(cells, "adjudicated_dr_grade", DR_GRADES) if gradable else None,
        dme_grade=int(code(cells, "adjudicated_dme", NO_OR_YES)) if gradable else None,
        gradable=gradable,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """The rows of messidor_data.csv."""
    table = read_table(root / "messidor_data.csv", columns=COLUMNS)
    keys, patients = _keys(root), _patients(root / "messidor-2.csv")
    for row in table:
        read_row = attempt(NAME, row.where, partial(row_of, row.cells, keys=keys, patients=patients))
        yield read_row if isinstance(read_row, BadRow) else _below(read_row, root)


def _below(row: Labelled, root: Path) -> Labelled:
    return replace(row, image=root / row.key)


def _keys(root: Path) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            keys.setdefault(path.stem.casefold(), []).append(path.relative_to(root).as_posix())
    return keys


def _patients(pairs: Path) -> dict[str, str]:
    """Both images of an examination -> the name of the first."""
    if not pairs.is_file():
        return {}
    lines = ([_stem(name) for name in re.split("[;,]", line) if name.strip()] for _, line in read_lines(pairs))
    return {name: names[0] for names in lines for name in names}


def _stem(name: str) -> str:
    return PurePosixPath(name.strip().strip('"')).stem.casefold()


SET = PublicSet(
    name=NAME,
    title="Messidor-2 with adjudicated grades",
    modality=Modality.CFP,
    licence="see its page",
    url="https://www.adcis.net/en/third-party/messidor2/",
    patient_key="examination in messidor-2.csv, where that is there",
    citation=(
        "Decencière et al., Image Anal. Stereol. 33(3), 2014; grades: Krause et al., Ophthalmology 125(8), 2018,"
        " https://www.kaggle.com/datasets/google-brain/messidor2-dr-grades"
    ),
    read=read,
)
