"""The records of a benchmark: what is asked, what was answered, and how the answer was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one image. `key` is unique within its task file and names the stored answer."""

    file: str  # task file, relative to the benchmark's root, with "/"
    key: str
    image: str  # path relative to the folder of images, or "FILE#INDEX" inside a table
    patient: str  # the image where the benchmark names no patient
    question: str
    options: tuple[str, ...]  # in the order of their letters A, B, ...
    gold: tuple[str, ...]  # texts of the right options
    several: bool  # more than one option may be right
    prompts: Mapping[str, str]  # mode -> what a model is told beside the image
    groups: Mapping[str, str] = field(default_factory=dict)  # dimension -> value, for a benchmark without levels
    content: str = ""  # hash of an image inside a table, which may change under one name


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The questions of one file, in its order."""

    path: str  # as in Question.file
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was read. `left_out` counts rows that are no questions of it, by reason."""

    name: str
    files: tuple[TaskFile, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. `scores`: option text -> the higher the likelier; None = it gave text only."""

    text: str
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A question with its answer as it was read; `answer` None = there is none, which is wrong like an unread one."""

    question: Question
    answer: Answer | None
    read: str  # the text that the rules saw
    rule: str  # which rule of letters.py read it, or "unmatched", or "unanswered"
    chosen: tuple[str, ...]  # option texts
    stops_published: bool = False  # FunBench's own scorer would end with an error here

    @property
    def correct(self) -> bool:
        """All right options and no other."""
        return set(self.chosen) == set(self.question.gold)
