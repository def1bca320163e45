"""OIA-ODIR: ODIR's training, off-site and on-site images with their annotation. FunBench takes the on-site set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.public import odir
from fundus_ray.data.public.layout import first_of, located_rows
from fundus_ray.data.public.reading import Files
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "oia_odir"
SPLITS = {"Training Set": "train", "Off-site Test Set": "test", "On-site Test Set": "test"}


def row_of(row: odir.EyeRow, *, part: str) -> Labelled:
    """One eye of the annotation table of `part`, a folder of SPLITS."""
    key = f"{part}/Images/{row.file}"
    return odir.row_of(row, source=NAME, key=key, image=Path(key), official_split=SPLITS[part])


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Both eyes of every patient of the parts that are there. Raises DataError where none is or one lacks its table."""
    first_of(root, *SPLITS, what="part of the set")
    files = Files(root)
    for part in SPLITS:
        if (root / part).is_dir():
            rows = odir.eye_rows(_annotation(root / part))
            yield from located_rows(NAME, rows, partial(row_of, part=part), files=files)


def _annotation(part: Path) -> Path:
    """The annotation table of one part; the English one where there are two."""
    tables = sorted(path for path in part.glob("Annotation/*.xlsx") if not path.name.startswith((".", "~")))
    if not tables:
        raise DataError(f"{part}: annotation table not found; looked for 'Annotation/*.xlsx'")
    return next((path for path in tables if "english" in path.name.lower()), tables[0])


SET = PublicSet(
    name=NAME,
    title="OIA-ODIR",
    modality=Modality.CFP,
    licence="see its page",
    url="https://github.com/nkicsl/OIA-ODIR",
    patient_key="ID",
    citation="Li et al., A Benchmark of Ocular Disease Intelligent Recognition, Bench 2020",
    read=read,
    space=odir.SPACE,
)
