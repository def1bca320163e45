"""The questions of imported sets, made one image at a time, so that millions of them are never held in memory.

In: files of `fundus-ray data import`. Out: pictures for the leak guard and the split, then samples; a row whose labels
or masks cannot be used is a `BadRow`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fundus_ray.data.importing import read_imported
from fundus_ray.data.labelled import BadRow
from fundus_ray.data.leaks.guard import Picture
from fundus_ray.data.questions.ask import questions
from fundus_ray.data.registry import origin_of
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

LEFT_OUT = ".left_out.jsonl"  # the end of the name of what an import left out


@dataclass(frozen=True, slots=True)
class ImportedSets:
    """Files of imports, in the order in which they were given."""

    files: tuple[Path, ...]
    tasks: tuple[str, ...]
    closed: bool  # with options
    seed: int

    def pictures(self) -> Iterator[Picture]:
        """Every image, not yet fingerprinted. Raises DataError on a row that is not one of an import."""
        for file in self.files:
            for row, ref in read_imported(file):
                yield Picture(f"{row.source}:{row.key}", row.source, ref.path, row.patient_id, sha256=ref.sha256)

    def samples(self) -> Iterator[Sample | BadRow]:
        """The questions of every image; their `split` is left to who divides them."""
        for file in self.files:
            for row, ref in read_imported(file):
                space = origin_of(row.source).space
                try:
                    yield from questions(
                        row, space=space, seed=self.seed, split="", image=ref, tasks=self.tasks, closed=self.closed
                    )
                except DataError as err:
                    yield BadRow(row.source, row.key, str(err), "unusable labels")


def sort_files(given: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """(files of imports, files of questions) of what a user names; a folder stands for the imports in it, by name.

    Raises DataError where one is neither, or is the list of what an import left out.
    """
    imports: list[Path] = []
    asked: list[Path] = []
    for path in given:
        found = _in_folder(path) if path.is_dir() else [path]
        for file in found:
            (imports if _is_import(file) else asked).append(file)
    return tuple(dict.fromkeys(imports)), tuple(dict.fromkeys(asked))


def _in_folder(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*.jsonl")) if not file.name.endswith(LEFT_OUT)]
    found = [file for file in files if not file.name.startswith(".") and _is_import(file)]
    if not found:
        raise DataError(f"{folder} holds no import (NAME.jsonl of `fundus-ray data import --out {folder}`)")
    return found


def _is_import(file: Path) -> bool:
    """By its first row: an import's says whose image it is, a question's what is asked."""
    if file.name.endswith(LEFT_OUT):
        raise DataError(
            f"{file} lists what an import left out; give {file.name.removesuffix(LEFT_OUT)}.jsonl beside it"
        )
    try:
        with file.open(encoding="utf-8-sig") as lines:
            first = next((line for line in lines if line.strip()), "")
        row = json.loads(first or "null")
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; a JSONL, or a folder of imports, is expected") from None
    except OSError as err:
        raise DataError(f"{file} cannot be read: {err.strerror or err}") from None
    except ValueError:
        return False  # the reader of questions says what is wrong, by line
    if not first:
        raise DataError(f"{file} is empty; a JSONL of `fundus-ray data import`, or of your own questions, is expected")
    return isinstance(row, dict) and {"source", "key", "sha256"} <= row.keys() and "question" not in row
