"""Stored answers: a folder that mirrors the benchmark's files, each `{key: answer}`.

The key is FunBench's image path, OmniMedVQA's question_id, GMAI-MMBench's index. An answer is a text, or
`{"answer": text, "scores": {option: number}}` where the model gave a number for each option. Files that are absent are
left out of the score, as FunBench's published scorer does; a question without an answer in a file that is there counts
as wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark

Answers = Mapping[str, Mapping[str, Answer]]  # task file -> key -> answer


def stored_path(file: str) -> str:
    """Where the answers to a task file lie, relative to the folder of predictions."""
    return PurePosixPath(file).with_suffix(".json").as_posix()


def read_predictions(folder: Path, benchmark: Benchmark) -> dict[str, dict[str, Answer]]:
    """The answers of each task file that is there. Raises DataError where none is, or one is not as said above."""
    if not folder.is_dir():
        raise DataError(f"--predictions {folder}: no such folder")
    wanted = {file.path: folder / stored_path(file.path) for file in benchmark.files}
    found = {file: _read(path) for file, path in wanted.items() if path.is_file()}
    if not found:
        first = next(iter(wanted.values()))
        raise DataError(f"--predictions {folder}: no answers to a task file of {benchmark.name}; one would be {first}")
    return found


def strays(folder: Path, benchmark: Benchmark, answers: Answers) -> list[str]:
    """Stored files and keys that answer nothing, a line each; a misspelt name would otherwise go unseen."""
    known = {stored_path(file.path) for file in benchmark.files}
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json"))
    lines = [f"{name}: no task file has this name" for name in there if name not in known]
    for file in benchmark.files:
        extra = set(answers.get(file.path, {})) - {question.key for question in file.questions}
        if extra:
            lines.append(f"{stored_path(file.path)}: {len(extra)} answers to no question, such as {min(extra)!r}")
    return lines


def _read(path: Path) -> dict[str, Answer]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} cannot be read: {err}") from None
    if not isinstance(stored, dict):
        raise DataError(f"{path}: not an object {{key: answer}}")
    return {key: _answer(path, key, value) for key, value in stored.items()}


def _answer(path: Path, key: str, value: Any) -> Answer:
    if isinstance(value, str):
        return Answer(value)
    scores = value.get("scores") if isinstance(value, dict) else None
    if not isinstance(scores, dict) or not isinstance(value.get("answer"), str):
        raise DataError(f'{path}: {key!r}: an answer is a text or {{"answer": text, "scores": {{option: number}}}}')
    if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores.values()):
        raise DataError(f"{path}: {key!r}: scores must be finite numbers, got {scores}")
    return Answer(value["answer"], {str(option): float(score) for option, score in scores.items()})
