"""What the process parts mean for each kind of question: one table, keyed by Sample.task.

A part that means nothing for a question is masked (None), never zero. What a chain writes has no say in it, but for
one case: the consistency of an answer without a record, which cannot be judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fundus_ray.knowledge.matcher import normalise
from fundus_ray.knowledge.records import Record, Records
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.relations import PLACE_LABELS
from fundus_ray.reasoning.steps import Reading
from fundus_ray.reward.conclusion import (
    NO,
    NORMAL,
    YES,
    concludes_abnormality,
    concludes_lesion,
    conclusion_agrees,
    yes_or_no,
)
from fundus_ray.reward.consistency import Expected, expected_of
from fundus_ray.types import Sample


class Against(Enum):
    """What the stated findings are held against."""

    RECORDS = "the records of the chosen options, united"
    LESION = "the lesion in the question: stated exactly if the answer says that it is there"
    ABNORMALITY = "the normal eye: Yes needs one sign that it need not show, No allows none that its record excludes"
    NOTHING = "nothing: not applicable"


class Scope(Enum):
    """Which annotated findings the stated ones are held against."""

    IMAGE = "all on the image"
    LESION = "the lesion in the question alone"
    NOTHING = "none: not applicable"


@dataclass(frozen=True, slots=True)
class TaskRule:
    """The meaning of the parts for one kind of question. Coherence, accuracy and format mean the same for all."""

    consistency: Against
    knowledge: bool  # relations from findings to diseases are judged
    grounding: Scope


_DIAGNOSIS = TaskRule(Against.RECORDS, knowledge=True, grounding=Scope.IMAGE)
_LESION = TaskRule(Against.LESION, knowledge=False, grounding=Scope.LESION)
_OTHER = TaskRule(Against.NOTHING, knowledge=False, grounding=Scope.IMAGE)

TASKS: dict[str, TaskRule] = {
    # task            rule                                                                       FunBench's code
    "modality": TaskRule(Against.NOTHING, knowledge=False, grounding=Scope.NOTHING),  # what kind of image   L1a L1b
    "structure": _DIAGNOSIS,  # optic disc or fovea: their records name what is seen where                    L2a
    "laterality": _DIAGNOSIS,  # left or right eye, the same                                                  L2b
    "lesion": _LESION,  # is it there? Yes or No                                                              L3a
    "location": _LESION,  # where is it? several answers                                                      L3b
    "size": _LESION,  # how much of the image is it?                                                          L3c
    "count": _LESION,  # how many are there? a number that the chain states lies in the chosen range          L3d
    "abnormality": TaskRule(Against.ABNORMALITY, knowledge=False, grounding=Scope.IMAGE),  # Yes or No        L4a
    "diagnosis": _DIAGNOSIS,  # one answer or several                                                         L4b
    "grading": _DIAGNOSIS,  # grades of one disease, each with its record                                     L4c L4d
}
FUNBENCH = {  # its tasks, as data/questions writes them
    "L1a": "modality",
    "L1b": "modality",
    "L2a": "structure",
    "L2b": "laterality",
    "L3a": "lesion",
    "L3b": "location",
    "L3c": "size",
    "L3d": "count",
    "L4a": "abnormality",
    "L4b": "diagnosis",
    "L4c": "grading",
    "L4d": "grading",
}

# What their records look for is seen in any eye, so it makes none abnormal.
HEALTHY = PLACE_LABELS | {NORMAL}
ABSENT = ("not observed in the image", "not observed", "none", "absent")  # answers that deny the lesion asked for
# Who states one of the kinds states the lesion.
KINDS = {
    "retinal_haemorrhage": (
        "dot_blot_haemorrhage",
        "flame_haemorrhage",
        "severe_haemorrhages",
        "sectoral_haemorrhages",
    ),
    "dot_blot_haemorrhage": ("severe_haemorrhages",),
    "drusen": ("medium_drusen", "large_drusen"),
    "intraretinal_fluid": ("cystoid_spaces",),
    "pigment_epithelial_detachment": ("haemorrhagic_ped",),
    "detached_retina": ("tractional_detachment",),
}
_RANGE = re.compile(
    r"(?P<sign><=|>=|<|>|≤|≥|no more than|more than)?(?:between)?\s*(?P<low>\d+)"
    r"(?:\s*(?:-|\u2013|to|and)\s*(?P<high>\d+))?"
)


def kind_of(task: str) -> str:
    """The kind of question by which TASKS knows a task; the task itself where it has no other name."""
    return FUNBENCH.get(task, task)


def rule_of(sample: Sample, records: Records) -> TaskRule:
    """The rule of its task. A task that the table does not know is judged by its options: a Yes/No question about one
    finding as "lesion"; options (or a free answer) with a record among them as "diagnosis"; else no part but grounding
    applies."""
    if (kind := kind_of(sample.task)) in TASKS:
        return TASKS[kind]
    options = sample.options or sample.answer
    if {normalise(option) for option in options} == {YES, NO} and asked_lesion(sample, records.vocabulary):
        return _LESION
    return _DIAGNOSIS if any(records.get(option, sample.modality) for option in options) else _OTHER


def asked_lesion(sample: Sample, vocabulary: Vocabulary) -> frozenset[str]:
    """The finding ids that are the lesion of the question; empty where it names none, or several."""
    named = {finding for finding, _, _ in vocabulary.finding_matcher.find(sample.question)}
    return (
        frozenset(f for lesion in named for f in (lesion, *KINDS.get(lesion, ()))) if len(named) == 1 else frozenset()
    )


def in_annotators_terms(stated: Sequence[str], sample: Sample) -> tuple[str, ...]:
    """The stated findings as who annotated the image would write them, each once: a kind of a finding that they looked
    for becomes that finding, and what they did not look for is left out, as nothing is known of it."""
    if sample.looked_for is None:
        return tuple(stated)
    own = {*sample.looked_for, *(sample.findings or ())}
    wider = {kind: finding for finding, kinds in KINDS.items() for kind in kinds if finding in own}
    written = (finding if finding in own else wider.get(finding) for finding in stated)
    return tuple(dict.fromkeys(finding for finding in written if finding is not None))


def expected(rule: TaskRule, sample: Sample, *, answer: Sequence[str], records: Records) -> Expected | str:
    """What the answer asks of the findings, or why consistency does not apply."""
    if rule.consistency is Against.RECORDS:
        return _by_records(sample, answer, records)
    if rule.consistency is Against.LESION:
        return _by_lesion(sample, answer, records.vocabulary)
    if rule.consistency is Against.ABNORMALITY:
        return _by_abnormality(sample, answer, records)
    return "consistency does not apply to this kind of question"


def concludes(
    rule: TaskRule, sample: Sample, *, reading: Reading, answer: Sequence[str], vocabulary: Vocabulary
) -> bool:
    """Whether the chain's conclusion is its answer: by its letters, its words, its labels, or, for questions about a
    lesion or an abnormality, by saying that it is there or not."""
    said, word = reading.conclusion, yes_or_no(answer)
    if sample.options and set(choose(said, sample.options) or ()) == set(answer):
        return True
    if word and rule.consistency is Against.LESION:
        return concludes_lesion(said, answer=word, asked=asked_lesion(sample, vocabulary), vocabulary=vocabulary)
    if word and rule.consistency is Against.ABNORMALITY:
        return concludes_abnormality(said, answer=word, vocabulary=vocabulary)
    if conclusion_agrees(said, answer=answer, vocabulary=vocabulary):
        return True
    if rule.consistency is not Against.LESION or said is None or _names_another(said, sample, answer):
        return False
    presence, asked = YES if _present(answer) else NO, asked_lesion(sample, vocabulary)
    return concludes_lesion(said, answer=presence, asked=asked, vocabulary=vocabulary)


def _by_records(sample: Sample, answer: Sequence[str], records: Records) -> Expected | str:
    found = {option: records.get(option, sample.modality) for option in answer}
    missing = [option for option, record in found.items() if record is None]
    if missing:
        return f"consistency does not apply: no knowledge record of {missing[0]!r}"
    known: list[Record] = [record for record in found.values() if record is not None]
    return expected_of(known)


def _by_lesion(sample: Sample, answer: Sequence[str], vocabulary: Vocabulary) -> Expected | str:
    lesion = asked_lesion(sample, vocabulary)
    if not lesion:
        return "consistency does not apply: the question does not name one finding"
    present = _present(answer)
    rule = f"the answer says that the lesion is {'there' if present else 'not there'}"
    return Expected(
        required=(lesion,) if present else (),
        supportive=frozenset(),
        contradicting=frozenset() if present else lesion,
        rules=(rule,),
        count=_range(answer) if present and kind_of(sample.task) == "count" else None,
    )


def _by_abnormality(sample: Sample, answer: Sequence[str], records: Records) -> Expected | str:
    """Yes is backed by any sign, also by one that a normal eye may show: a few drusen belong to age, but who says that
    they are why the eye is abnormal is consistent. No is held against what the normal eye's record excludes."""
    normal, word = records.get(NORMAL, sample.modality), yes_or_no(answer)
    if normal is None or word is None:
        return "consistency does not apply: no record of the normal eye, or an answer that is not Yes or No"
    if word == NO:
        return expected_of([normal])
    healthy = {f for (label, _), record in records.by_key.items() if label in HEALTHY for f in record.in_favour}
    return Expected(
        required=(frozenset(records.vocabulary.findings) - healthy,),
        supportive=frozenset(),
        contradicting=frozenset(),
        rules=("the answer says that something is abnormal",),
    )


def _present(answer: Sequence[str]) -> bool:
    """Whether the answer says that the lesion is there: Yes, or anything but No and its like."""
    return not all(_tidy(option) in (NO, *ABSENT) for option in answer)


def _names_another(conclusion: str, sample: Sample, answer: Sequence[str]) -> bool:
    """Whether the conclusion holds the text of an option that was not chosen."""
    words = f" {_tidy(conclusion)} "
    return any(f" {_tidy(option)} " in words for option in sample.options if option not in answer)


def _range(answer: Sequence[str]) -> tuple[float, float] | None:
    """The numbers that an option such as `<=5`, `Between 5 and 15` or `>35` allows, its ends with it; None where it
    names none."""
    match = _RANGE.fullmatch(answer[0].strip().casefold()) if len(answer) == 1 else None
    if match is None:
        return None
    low = float(match["low"])
    if match["high"]:
        return low, float(match["high"])
    sign = match["sign"] or ""
    return (0.0, low) if sign in ("<=", "<", "≤", "no more than") else (low, float("inf")) if sign else (low, low)


def _tidy(option: str) -> str:
    return normalise(option).rstrip(".")
