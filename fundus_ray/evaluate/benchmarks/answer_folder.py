"""Answers as a model gives them, kept so that a stopped evaluation goes on.

In: answers, one at a time. Out, in the folder:

    answers.jsonl    one answer a line, flushed as it comes
    answers/         the same as `--predictions` takes them (predictions.py), written at the end

Each line holds a hash of what was asked: an answer to other words, or about another size of image, is asked for again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.predictions import stored_path
from fundus_ray.evaluate.benchmarks.question import Answer
from fundus_ray.obs.made_with import mark_made_with
from fundus_ray.obs.strict_json import JsonLines, lines_of, read_lines, write_json, write_text

LINES, TREE = "answers.jsonl", "answers"
QuestionName = tuple[str, str]  # task file, key


def mark(folder: Path, made_with: Mapping[str, Any]) -> None:
    """Say in the folder what its answers are made with. Raises ConfigError where it holds answers made otherwise."""
    empty = not any(lines.stat().st_size for lines in folder.rglob(LINES))
    mark_made_with(folder, made_with, empty=empty, said=f"--out {folder} holds answers")


def about(*asked: object) -> str:
    """Hash of what was asked: texts, image, options."""
    return hashlib.sha256(json.dumps(list(map(str, asked))).encode()).hexdigest()[:16]


class AnswerFolder:
    """An open folder; one process at a time writes to it (obs/sole_writer.py)."""

    def __init__(self, path: Path, *, asked: Mapping[QuestionName, str]) -> None:
        """`asked`: question -> hash. Stored answers to a question that was put otherwise are dropped; those to others
        than these stay in the file. Raises DataError on a broken line."""
        self.path = path
        self._asked = asked
        self._answers: dict[QuestionName, Answer] = {}
        self._cut_off: set[QuestionName] = set()
        path.mkdir(parents=True, exist_ok=True)
        lines = path / LINES
        if lines.is_file():
            standing = [row for row in read_lines(lines) if self._take(lines, row)]
            write_text(lines, lines_of(standing))  # without a line cut short
        self._lines = JsonLines(lines)

    @property
    def answers(self) -> dict[str, dict[str, Answer]]:
        """Task file -> key -> answer, in the questions' order."""
        found: dict[str, dict[str, Answer]] = {}
        for name in self._asked:
            if name in self._answers:
                found.setdefault(name[0], {})[name[1]] = self._answers[name]
        return found

    @property
    def cut_off(self) -> int:
        """Answers that ended at the longest length allowed."""
        return len(self._cut_off)

    def missing(self) -> Iterator[QuestionName]:
        """Questions without an answer."""
        return (name for name in self._asked if name not in self._answers)

    def add(self, name: QuestionName, answer: Answer, *, complete: bool) -> None:
        """Keep the answer; it is on the disk when this returns."""
        scores = {} if answer.scores is None else {"scores": dict(answer.scores)}
        row = {"file": name[0], "key": name[1], "about": self._asked[name], "answer": answer.text, **scores}
        self._lines.append({**row, "complete": complete})
        self._keep(name, answer, complete=complete)

    def export(self) -> None:
        """Write the tree."""
        for file, own in self.answers.items():
            path = self.path / TREE / stored_path(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {key: _stored(answer) for key, answer in own.items()})

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _take(self, path: Path, row: Mapping[str, Any]) -> bool:
        """Whether the line stays."""
        try:
            name, answer = (row["file"], row["key"]), Answer(row["answer"], row.get("scores"))
            if name not in self._asked:
                return True
            if self._asked[name] != row["about"]:
                return False
            self._keep(name, answer, complete=row["complete"])
        except KeyError as err:
            raise DataError(f"{path}: a line without {err}; take another --out") from None
        return True

    def _keep(self, name: QuestionName, answer: Answer, *, complete: bool) -> None:
        self._answers[name] = answer
        if not complete:
            self._cut_off.add(name)


def _stored(answer: Answer) -> Any:
    return answer.text if answer.scores is None else {"answer": answer.text, "scores": dict(answer.scores)}
