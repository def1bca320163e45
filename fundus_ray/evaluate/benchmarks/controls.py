"""The same questions put otherwise: their options in other orders, or the image taken away.

In: the result as the benchmark asks, and one for each control. Out: `Control`: its score, how often the same option was
chosen, and McNemar's test. Where most of a score is left without the image, it was no score of seeing; where another
order of the options changes many choices, it was no score of knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fundus_ray.evaluate.benchmarks.against import Paired, QuestionName, mcnemar
from fundus_ray.evaluate.benchmarks.score import Result
from fundus_ray.evaluate.benchmarks.statistic import OVERALL, Name

ORDER, NO_IMAGE, GREY_IMAGE = "order", "no image", "grey image"


@dataclass(frozen=True, slots=True)
class Control:
    """`scores` by (kind, name), overall and levels; `same`: share of the questions in both whose choice is the same
    options, None = there is no such question; `paired`: ours = as the benchmark asks."""

    name: str
    scores: dict[Name, float]
    questions: int
    same: float | None
    paired: Paired


@dataclass(frozen=True, slots=True)
class Orders:
    """Over all orders of the options, the benchmark's own included. `same_in_all`: share of the questions whose choice
    no order changes."""

    number: int
    lowest: float
    highest: float
    same_in_all: float | None


def control(name: str, asked: Result, other: Result) -> Control:
    """The other result beside the one as the benchmark asks."""
    ours, theirs = choices(asked), choices(other)
    both = ours.keys() & theirs.keys()
    right = {(v.question.file, v.question.key): v.correct for v in other.verdicts}
    return Control(
        name=name,
        scores={key: value for key, value in other.scores.items() if key[0] in ("overall", "levels")},
        questions=len(both),
        same=sum(ours[one] == theirs[one] for one in both) / len(both) if both else None,
        paired=mcnemar(asked.verdicts, right),
    )


def over_orders(asked: Result, others: Sequence[Result]) -> Orders:
    """Spread and consistency of the results with other orders."""
    chosen = [choices(result) for result in (asked, *others)]
    in_all = set.intersection(*(set(one) for one in chosen))
    scores = [result.scores[OVERALL] for result in (asked, *others)]
    same = sum(len({one[name] for one in chosen}) == 1 for name in in_all)
    return Orders(
        number=len(chosen),
        lowest=min(scores),
        highest=max(scores),
        same_in_all=same / len(in_all) if in_all else None,
    )


def choices(result: Result) -> dict[QuestionName, frozenset[str]]:
    """Question -> the options' texts that were chosen."""
    return {(v.question.file, v.question.key): frozenset(v.chosen) for v in result.verdicts}
