"""OmniMedVQA's JSON files as they lie on disk: QA_information/{Open-access,Restricted-access}/DATASET.json, lists of

{"dataset", "question_id", "question_type", "question", "gt_answer": text, "image_path", "option_A", "option_B",
 ["option_C", "option_D"], "modality_type"}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.choice_prompt import choice_prompt
from fundus_ray.evaluate.benchmarks.modality import kept_modality, nothing_kept
from fundus_ray.evaluate.benchmarks.question import Benchmark, Question, TaskFile

NAME = "omnimedvqa"
LEVEL, TASK = "modality_type", "question_type"  # the fields that `levels` and `tasks` group by
_FOLDER = "QA_information"


def read_omnimedvqa_root(root: Path, *, modalities: Sequence[str] = ()) -> Benchmark:
    """The fundus and OCT questions below `root`, or those whose modality_type is one of `modalities`.

    Rows of other modalities and rows that cannot be asked are counted in `left_out`. Raises DataError where there is no
    file, a file is no list of records, or nothing is kept.
    """
    paths = sorted((root / _FOLDER).rglob("*.json"))
    if not paths:
        raise DataError(f"{root}: no {_FOLDER}/**/*.json; give OmniMedVQA's folder, which holds Images/ and {_FOLDER}/")
    left_out: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    files = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        questions = tuple(_questions(name, _records(path), modalities=modalities, seen=seen, left_out=left_out))
        if questions:
            files.append(TaskFile(name, questions))
    if not files:
        raise nothing_kept(root, seen=seen)
    return Benchmark(name=NAME, files=tuple(files), left_out=left_out)


def _records(path: Path) -> list[Mapping[str, Any]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} cannot be read: {err}") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: not a list of records")
    return records


def _questions(
    file: str,
    records: Sequence[Mapping[str, Any]],
    *,
    modalities: Sequence[str],
    seen: Counter[str],
    left_out: Counter[str],
) -> Iterator[Question]:
    keys: set[str] = set()
    for place, record in enumerate(records):
        # One record of the published files says "modality".
        modality = str(record.get("modality_type", record.get("modality", "")))
        seen[modality] += 1
        key = str(record.get("question_id", f"#{place}"))
        if not kept_modality(modality, modalities):
            left_out["other modality"] += 1
        elif key in keys:
            left_out["question_id is there twice"] += 1
        elif isinstance(made := _question(file, key, modality, record), str):
            left_out[made] += 1
        else:
            keys.add(key)
            yield made


def _question(file: str, key: str, modality: str, record: Mapping[str, Any]) -> Question | str:
    """The question, or why there is none."""
    options = tuple(str(record[f"option_{x}"]) for x in "ABCD" if record.get(f"option_{x}"))
    gold = _tidy(str(record.get("gt_answer", "")))
    right = tuple(option for option in options if _tidy(option) == gold)[:1]
    if not right:
        return "gt_answer is no option"
    if "question" not in record or "image_path" not in record:
        return "no question or image_path"
    image = str(record["image_path"])
    question = str(record["question"])
    return Question(
        file=file,
        key=key,
        image=image,
        patient=image,
        question=question,
        options=options,
        gold=right,
        several=False,
        prompts={"plain": choice_prompt(question, options)},
        groups={
            LEVEL: modality,
            TASK: str(record.get("question_type", "")),
            "dataset": str(record.get("dataset", "")),
        },
    )


def _tidy(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
