"""A user's own images: any folder of images with a JSONL beside them.

In: one JSON object a line: `image` (relative to the JSONL's folder), `modality`, `question`, `answer` (an option's text
or letter, or a list of them); `options` (absent = free text); optional `findings`, `patient_id`, `task`, `id`, `split`.
Out: samples, divided by patient. Every bad row is collected and named by file and line in one DataError.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fundus_ray.bars import Bar
from fundus_ray.data.images import image_ref
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef, Modality, Sample

REQUIRED = ("image", "modality", "question", "answer")
OPTIONAL = ("options", "findings", "patient_id", "task", "id", "split")
SPLITS = ("train", "eval")
SHOWN_PROBLEMS = 5


FindingIds = Callable[[Sequence[str]], tuple[str, ...]]  # names, synonyms or ids -> ids; DataError for an unknown one


class _RowError(Exception):
    """What is wrong with one row; the caller adds file and line."""


@dataclass(slots=True)
class _Seen:
    """What earlier rows of the same file established."""

    lines: dict[str, int] = field(default_factory=dict)  # sample id -> line
    images: dict[Path, ImageRef] = field(default_factory=dict)  # so that an image asked about twice is decoded once


def jsonl_samples(path: Path, *, finding_ids: FindingIds, eval_fraction: float, seed: int) -> tuple[Sample, ...]:
    """As `undivided_samples`, with rows without a `split` divided by patient: `eval_fraction` of them held out."""
    samples = undivided_samples(path, finding_ids=finding_ids)
    return _divide(samples, path=path, eval_fraction=eval_fraction, seed=seed)


def undivided_samples(path: Path, *, finding_ids: FindingIds) -> tuple[Sample, ...]:
    """The file's samples in its order, each with the `split` of its row, "" where it has none.

    Rows without `patient_id` belong to the patient of another row with the same image, or else to the image itself.
    Raises DataError: the first problem by file and line, and how many more there are.
    """
    samples: list[Sample] = []
    problems: list[str] = []
    seen = _Seen()
    for number, line in Bar(_lines(path), desc=f"reading {path.name}", unit="row", mininterval=0.5):
        try:
            samples.append(_sample(line, path=path, number=number, seen=seen, finding_ids=finding_ids))
        except (_RowError, DataError) as err:
            problems.append(f"{path}:{number}: {err}")
    if problems:
        raise DataError(_summary(problems))
    if not samples:
        raise DataError(f"{path}: the file is empty; one JSON object a line is expected")
    return tuple(_with_patients(samples))


def image_rows(path: Path) -> list[tuple[int, Path]]:
    """Where the rows' images should lie, each once, with the first line that names it; rows that cannot be read are
    left out, as `jsonl_samples` names them. Raises DataError where the file cannot be read."""
    found: dict[Path, int] = {}
    for number, line in _lines(path):
        try:
            found.setdefault(path.parent / _text(_parse(line), "image"), number)
        except _RowError:
            continue
    return [(number, image) for image, number in found.items()]


def _lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, text) of the lines that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist (data.path)") from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not UTF-8 text (byte {err.start})") from None
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror or err}") from None
    # Not splitlines(): that would also break a row at U+2028 and its like inside a text.
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _summary(problems: Sequence[str]) -> str:
    """The first problem; how many more; up to SHOWN_PROBLEMS in all, on one line."""
    first, *rest = problems
    if not rest:
        return first
    shown = "; ".join(rest[: SHOWN_PROBLEMS - 1])
    return f"{first} (and {len(rest)} more: {shown}{'; ...' if len(rest) >= SHOWN_PROBLEMS else ''})"


def _sample(line: str, *, path: Path, number: int, seen: _Seen, finding_ids: FindingIds) -> Sample:
    """One row as a sample; patient and split stay empty where the row has none."""
    row = _parse(line)
    identity = _label(row, "id") or f"{path.stem}-{number}"
    if identity in seen.lines:
        raise _RowError(f"id {identity!r} is already that of line {seen.lines[identity]}")
    seen.lines[identity] = number
    options = _options(row)
    findings = row.get("findings")
    sample = Sample(
        id=identity,
        image=_image(path.parent / _text(row, "image"), seen=seen),
        modality=_modality(_text(row, "modality")),
        question=_text(row, "question"),
        options=options,
        answer=_answer(row["answer"], options),
        task=_text(row, "task") if row.get("task") is not None else "question",
        source=path.stem,
        split=row.get("split") or "",
        patient_id=_label(row, "patient_id"),
        findings=None if findings is None else finding_ids(_texts(findings, "findings")),
    )
    if row.get("split") is not None and sample.split not in SPLITS:
        raise _RowError(f"split is {row['split']!r}; allowed are {', '.join(SPLITS)}")
    return sample


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as err:
        raise _RowError(f"not valid JSON: {err.msg} at column {err.colno}") from None
    except (ValueError, RecursionError) as err:
        raise _RowError(f"not valid JSON: {' '.join(str(err).split())}") from None
    if not isinstance(row, dict):
        raise _RowError(f"a JSON object is expected, not {type(row).__name__}")
    missing = [name for name in REQUIRED if row.get(name) is None]
    if missing:
        raise _RowError(f"missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for name in set(row) - {*REQUIRED, *OPTIONAL}:
        near = difflib.get_close_matches(name, OPTIONAL, n=1, cutoff=0.85)
        if near and near[0] not in row:  # a misspelt optional column would otherwise silently count as absent
            raise _RowError(f"unknown column {name!r}; did you mean {near[0]!r}?")
    return row


def _text(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise _RowError(f"{name} is {_short(value)}; a non-empty text is expected")
    return value


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise _RowError(f"{name} is {_short(value)}; a list of non-empty texts is expected")
    return value


def _label(row: dict[str, Any], name: str) -> str:
    """A text or whole number as text; "" where absent."""
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise _RowError(f"{name} is {_short(value)}; a text or a whole number is expected")
    return str(value)


def _image(path: Path, *, seen: _Seen) -> ImageRef:
    if path not in seen.images:
        seen.images[path] = image_ref(path)
    return seen.images[path]


def _modality(text: str) -> Modality:
    try:
        return Modality(text.strip().upper())
    except ValueError:
        raise _RowError(f"modality is {text!r}; allowed are {', '.join(one.value for one in Modality)}") from None


def _options(row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("options") is None:
        return ()
    options = _texts(row["options"], "options")
    if not 2 <= len(options) <= 26:
        raise _RowError(f"options holds {len(options)}; 2 to 26 are expected (leave the column out for free text)")
    if len({option.casefold() for option in options}) < len(options):
        raise _RowError(f"options holds the same text twice: {_short(options)}")
    return tuple(options)


def _answer(value: Any, options: Sequence[str]) -> tuple[str, ...]:
    """The option texts that `value` names by text or letter; the texts themselves where there are no options."""
    given = [value] if isinstance(value, str) and value.strip() else value
    if given == []:
        raise _RowError("answer is an empty list")
    texts = _texts(given, "answer")
    return tuple(dict.fromkeys(_choice(text, options) for text in texts)) if options else tuple(texts)


def _choice(text: str, options: Sequence[str]) -> str:
    for option in options:
        if option.casefold() == text.strip().casefold():
            return option
    letters = [chr(ord("A") + i) for i in range(len(options))]
    if text.strip().upper() in letters:
        return options[letters.index(text.strip().upper())]
    raise _RowError(f"answer {text!r} is neither an option nor one of the letters A to {letters[-1]}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _with_patients(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Gives rows without a patient that of a row with the same image, or else the image's hash."""
    known = {sample.image.sha256: sample.patient_id for sample in samples if sample.patient_id}
    for sample in samples:
        sha256 = sample.image.sha256
        yield sample if sample.patient_id else replace(sample, patient_id=known.get(sha256, sha256))


def _divide(rows: Sequence[Sample], *, path: Path, eval_fraction: float, seed: int) -> tuple[Sample, ...]:
    """Fills in missing splits: a patient keeps the split of its rows that have one; the others are drawn by `seed`."""
    split_of = {row.patient_id: row.split for row in rows if row.split}
    free = sorted({row.patient_id for row in rows} - set(split_of))
    if len(free) == 1 and not split_of:
        raise DataError(f"{path}: all rows are of one patient, so none can be held out; give rows a `split`")
    held_out = min(max(round(eval_fraction * len(free)), 1), max(len(free) - 1, 0))
    for position, index in enumerate(np.random.default_rng(seed).permutation(len(free))):
        split_of[free[index]] = "eval" if position < held_out else "train"
    return tuple(row if row.split else replace(row, split=split_of[row.patient_id]) for row in rows)
