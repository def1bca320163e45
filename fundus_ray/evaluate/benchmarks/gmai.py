"""GMAI-MMBench's TSV files: a question a row, its image in base64.

Columns: index, image, question, A ... E, answer (a letter), category, clinical VQA task, department, perceptual
granularity, modality, original task. As in VLMEvalKit's tables an image of at most 64 characters is the index of the
row that holds it. The TEST split is published without answers and so cannot be scored.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.choice_prompt import choice_prompt
from fundus_ray.evaluate.benchmarks.modality import kept_modality, nothing_kept
from fundus_ray.evaluate.benchmarks.question import Benchmark, Question, TaskFile

NAME = "gmai"
LEVEL, TASK = "perceptual granularity", "clinical vqa task"  # the columns that `levels` and `tasks` group by
_GROUPS = (LEVEL, TASK, "department", "modality")
_NEEDED = ("index", "image", "question", "a", "b", "answer", *_GROUPS)
_REFERENCE = 64  # characters, at most, of an image that is the index of another row


def read_gmai_root(root: Path, *, modalities: Sequence[str] = ()) -> Benchmark:
    """The fundus and OCT questions of each *.tsv in `root`, or those whose modality is one of `modalities`.

    Other rows are counted in `left_out`. Raises DataError where there is no file, a column is missing, or nothing is
    kept. One row is in memory at a time.
    """
    paths = sorted(root.glob("*.tsv"))
    if not paths:
        raise DataError(f"{root}: no *.tsv; give the folder of GMAI-MMBench_VAL.tsv")
    left_out: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    files = []
    for path in paths:
        questions = tuple(_questions(path, modalities=modalities, seen=seen, left_out=left_out))
        if questions:
            files.append(TaskFile(path.name, questions))
    if not files:
        raise nothing_kept(root, seen=seen)
    return Benchmark(name=NAME, files=tuple(files), left_out=left_out)


def images(path: Path) -> Iterator[tuple[str, bytes]]:
    """(hash as in Question.content, bytes of the image file) of each row that holds one, in the file's order.

    Raises DataError on bad base64.
    """
    for row in _rows(path):
        if len(row["image"]) > _REFERENCE:
            try:
                yield _hash(row["image"]), base64.b64decode(row["image"], validate=True)
            except binascii.Error as err:
                raise DataError(f"{path}: index {row['index']}: the image is not base64: {err}") from None


def _hash(image: str) -> str:
    """Of an image in base64."""
    return hashlib.sha256(image.encode()).hexdigest()


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows with lower-case column names: versions of the file differ in letter case."""
    csv.field_size_limit(sys.maxsize)  # the usual limit is 128 KiB a field, less than an image
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            names = {name: name.strip().casefold() for name in reader.fieldnames or ()}
            if missing := [name for name in _NEEDED if name not in names.values()]:
                hint = "; the TEST split has no answers, only VAL can be scored" if "answer" in missing else ""
                raise DataError(f"{path}: no column {missing[0]!r}{hint}")
            for row in reader:
                yield {names[name]: row[name] or "" for name in names}
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path} cannot be read: {err}") from None


def _questions(
    path: Path, *, modalities: Sequence[str], seen: Counter[str], left_out: Counter[str]
) -> Iterator[Question]:
    pictured: dict[str, str] = {}  # index -> hash of the image
    asked: set[str] = set()
    for row in _rows(path):
        image = row["image"]
        reference = len(image) <= _REFERENCE
        name = pictured.get(image, "") if reference else _hash(image)
        pictured[row["index"]] = name
        seen[row["modality"]] += 1
        if not kept_modality(row["modality"], modalities):
            left_out["other modality"] += 1
        elif not name:
            left_out["no image"] += 1
        elif row["index"] in asked:
            left_out["index is there twice"] += 1
        elif isinstance(made := _question(path.name, row, image if reference else row["index"], name), str):
            left_out[made] += 1
        else:
            asked.add(row["index"])
            yield made


def _question(file: str, row: Mapping[str, str], holder: str, content: str) -> Question | str:
    """The question, or why there is none. `holder`: index of the row with the image; `content`: its hash."""
    letters = [letter for letter in "ABCDE" if row.get(letter.casefold())]
    options = tuple(row[letter.casefold()] for letter in letters)
    answer = row["answer"].strip().upper()
    if letters != list("ABCDE")[: len(letters)] or len(set(options)) != len(options):
        return "options with a gap or a repeat"
    if answer not in letters:
        return "answer is no option's letter"
    return Question(
        file=file,
        key=row["index"],
        image=f"{file}#{holder}",
        patient=content,
        question=row["question"],
        options=options,
        gold=(options[letters.index(answer)],),
        several=False,
        prompts={"plain": choice_prompt(row["question"], options)},
        groups={name: row[name] for name in _GROUPS},
        content=content,
    )
