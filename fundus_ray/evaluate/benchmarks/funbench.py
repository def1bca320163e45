"""FunBench's task files as they lie on disk: four level folders, twelve tasks, some of them folders, a file a lesion.

    {"info": {...}, "data": {IMAGE PATH: {"E-mode2": text or null, "E-mode3": text, "gt": "A,D",
                                          "raw_data": {"options": [...], "question": ..., "gt": text or [texts]}}}}

A right answer given as a list makes the question one with several right options, also where the list holds one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_ray.data.leaks.names import image_name
from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.question import Benchmark, Question, TaskFile

NAME = "funbench"
YES_NO = {"Yes", "No"}
_LEVEL = re.compile(r"L\d.*")
_LAST_NUMBER = re.compile(r"L\d[a-z](\d*)")


def read_funbench_root(root: Path) -> Benchmark:
    """Every task file below `root`, sorted by level, task and number. Raises DataError naming file and image."""
    paths = [path for level in _levels(root) for path in level.rglob("*.json") if not path.name.startswith(".")]
    if not paths:
        raise DataError(f"{root}: no task files; give FunBench's folder, which holds L1-modality_perception/*.json ...")
    names = sorted((path.relative_to(root).as_posix() for path in paths), key=_order)
    return Benchmark(name=NAME, files=tuple(TaskFile(name, _questions(root, name)) for name in names))


def level_of(file: str) -> str:
    """L3-lesion_analysis"""
    return file.split("/")[0]


def task_of(file: str) -> str:
    """L3a-lesion_recognition"""
    return file.split("/")[1].removesuffix(".json")


def subtask_of(file: str) -> str | None:
    """L3a5-lesion_recognition-Microaneurysm; None where the task is one file."""
    parts = file.split("/")
    return parts[2].removesuffix(".json") if len(parts) > 2 else None


def meanings(question: Question) -> list[str] | None:
    """What Yes and No stand for where sentences are compared; None where the options say it themselves."""
    if set(question.options) != YES_NO:
        return None
    subtask = subtask_of(question.file)
    about = subtask.rsplit("-", 1)[-1] if subtask else "abnormality"
    return [about.capitalize() if option == "Yes" else f"No {about}" for option in question.options]


def patient_of(image: str) -> str:
    """The set and its patient, where the image's name holds what the set tells patients apart by; else the image."""
    name = image_name(image)
    return f"{name.family}/{name.patient}" if name.patient else image


def _levels(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give FunBench's folder, which holds L1-modality_perception/ ...")
    return [path for path in root.iterdir() if path.is_dir() and _LEVEL.fullmatch(path.name)]


def _order(name: str) -> tuple[str, str, int, str]:
    number = _LAST_NUMBER.match(subtask_of(name) or "")
    return level_of(name), task_of(name), int(number.group(1) or 0) if number else 0, name


def _questions(root: Path, name: str) -> tuple[Question, ...]:
    path = root / name
    if name.count("/") not in (1, 2):
        raise DataError(f"{path}: a task file lies in LEVEL/ or LEVEL/TASK/")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["data"].items()
    except KeyError as err:
        raise DataError(f"{path}: no key {err}; a task file of FunBench has it") from None
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise DataError(f"{path}: not a task file of FunBench: {err}") from None
    return tuple(_checked(name, image, row, path=path) for image, row in rows)


def _checked(file: str, image: str, row: Mapping[str, Any], *, path: Path) -> Question:
    try:
        return _question(file, image, row)
    except KeyError as err:
        raise DataError(f"{path}: {image}: no key {err}; a task file of FunBench has it") from None
    except TypeError as err:
        raise DataError(f"{path}: {image}: not a row of FunBench: {err}") from None


def _question(file: str, image: str, row: Mapping[str, Any]) -> Question:
    raw = row["raw_data"]
    several = isinstance(raw["gt"], list)
    gold = tuple(raw["gt"]) if several else (raw["gt"],)
    options = tuple(raw["options"])
    if not gold or not set(gold) <= set(options):
        raise DataError(f"{file}: {image}: right answer {list(gold)} is not among the options {list(options)}")
    if len(options) > 26:
        raise DataError(f"{file}: {image}: {len(options)} options, but there are 26 letters")
    return Question(
        file=file,
        key=image,
        image=image,
        patient=patient_of(image),
        question=raw["question"],
        options=options,
        gold=gold,
        several=several,
        prompts={mode: row[mode] for mode in ("E-mode2", "E-mode3") if row[mode] is not None},
    )
