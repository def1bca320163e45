"""The images of a benchmark, out of its own files.

In: a FunBench task file (`data`: key -> question), an OmniMedVQA file (a list of records with `image_path`), a table as
GMAI-MMBench ships it (.tsv, images in base64), a text file with one key a line, or a folder of any of them. Out: each
image's key, once, in order, and where the image is.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from fundus_ray.data.public.layout import IMAGE_SUFFIXES
from fundus_ray.errors import DataError

KINDS = (".json", ".tsv", ".txt")
KEY_SUFFIXES = IMAGE_SUFFIXES | {".gif", ".ppm", ".webp", ".mhd"}
IN_A_TABLE = re.compile(r"[^#]+\.tsv#.+", re.IGNORECASE)  # as keys of a table's images are written
REFERENCE = 64  # characters, at most, of an image in a table that is the index of the row which holds it

Keep = Callable[[str], bool]  # a modality's name, as a file gives it


def benchmark_pictures(path: Path, *, root: Path | None, keep: Keep) -> Iterator[tuple[str, Path | bytes | None]]:
    """(key, image): a path below `root`, None without one; or a table's image as bytes, None where they are damaged.

    keep: which modalities; asked where a file names them. Raises DataError where there is no such file, none of a known
    form in the folder, or no key in it.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in KINDS and file.is_file())
    else:
        files = [path]
    seen: set[str] = set()
    for file in files:
        for key, image in _pictures(file, root=root, keep=keep, lenient=path.is_dir()):
            if key not in seen:
                seen.add(key)
                yield key, image
    if not seen:
        raise DataError(
            f"{path} holds no image keys; a FunBench task file, an OmniMedVQA file, a GMAI-MMBench table, a text file "
            "with one key a line, or a folder of them is expected"
        )


def _pictures(file: Path, *, root: Path | None, keep: Keep, lenient: bool) -> Iterator[tuple[str, Path | bytes | None]]:
    if file.suffix == ".tsv":
        yield from _rows_of_table(file, keep=keep)
        return
    for key in _keys(file, keep=keep, lenient=lenient):
        yield key, root / key if root else None


def _rows_of_table(file: Path, *, keep: Keep) -> Iterator[tuple[str, bytes | None]]:
    """(file#index, image) of each row that holds an image. One row is in memory at a time."""
    csv.field_size_limit(sys.maxsize)  # the usual limit is 128 KiB a field, less than an image
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t")
            names = {name.strip().casefold(): name for name in reader.fieldnames or ()}
            if missing := [name for name in ("index", "image") if name not in names]:
                raise DataError(
                    f"{file} lacks the column {missing[0]!r}; a table of index, image (base64), ... is expected"
                )
            for row in reader:
                image = row[names["image"]] or ""
                modality = row[names["modality"]] if "modality" in names else None
                if len(image) > REFERENCE and (modality is None or keep(modality)):
                    yield f"{file.name}#{row[names['index']]}", _decoded(image)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{file} cannot be read: {err}") from None


def _decoded(image: str) -> bytes | None:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error:
        return None


def _keys(file: Path, *, keep: Keep, lenient: bool) -> Iterator[str]:
    """lenient: a JSON or text file of another kind, as a benchmark's folder holds, has no keys."""
    if file.suffix not in KINDS:
        raise DataError(
            f"{file}: a .json or .tsv file of the benchmark, or a .txt file with one key a line, is expected"
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file} cannot be read: {err}") from None
    if file.suffix != ".json":
        yield from _listed(file, text, lenient=lenient)
        return
    try:
        content: Any = json.loads(text)
    except ValueError as err:
        raise DataError(f"{file} is not JSON: {err}") from None
    if isinstance(content, dict) and isinstance(content.get("data"), dict):
        yield from content["data"]
    elif isinstance(content, list) and all(isinstance(row, dict) and "image_path" in row for row in content):
        yield from (str(row["image_path"]) for row in content if _wanted(row, keep))
    elif not lenient:
        raise DataError(f"{file} is neither a FunBench task file (`data`) nor a list of records with `image_path`")


def _listed(file: Path, text: str, *, lenient: bool) -> list[str]:
    """The keys of a text file, one a line. A line that is none would leave an image unguarded without a word; a file
    without a single key is another kind of text."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    odd = [(number, line) for number, line in lines if not _is_key(line)]
    if odd and not (lenient and len(odd) == len(lines)):
        number, line = odd[0]
        raise DataError(
            f"{file}:{number}: {line[:60]!r} names no image; a key a line is expected: a path that ends in "
            f"{', '.join(sorted(KEY_SUFFIXES))}, or TABLE.tsv#INDEX"
        )
    return [] if odd else [line for _, line in lines]


def _is_key(line: str) -> bool:
    return PurePosixPath(line).suffix.lower() in KEY_SUFFIXES or IN_A_TABLE.fullmatch(line) is not None


def _wanted(row: dict[str, Any], keep: Keep) -> bool:
    modality = row.get("modality_type", row.get("modality"))  # one record of OmniMedVQA says "modality"
    return modality is None or keep(str(modality))
