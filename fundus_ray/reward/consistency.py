"""Consistency: do the stated findings support the chain's OWN answer, right or wrong.

In: what a chain states, and what its answer asks for (`Expected`, made from knowledge records here or from the question
in tasks.py). Out: `Part`. After Fundus-R1, whose formula is not public; this one is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fundus_ray.knowledge.records import Record
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.steps import Reading
from fundus_ray.reward.part import Part, names, stated_findings

REQUIRED_SHARE = 0.6  # of consistency: the required findings are stated
BACKED_SHARE = 0.4  # of consistency: anything at all is stated that speaks for the answer
CONTRADICTION_WEIGHT = 2  # a contradicting finding counts as this many agreeing ones
_NAMED = 20  # findings of a group that a reason names one by one


@dataclass(frozen=True, slots=True)
class Expected:
    """What a chain must state, may state and must not state to support an answer; the three share no finding."""

    required: tuple[frozenset[str], ...]  # each item is met by any one of its findings
    supportive: frozenset[str]
    contradicting: frozenset[str]
    rules: tuple[str, ...]  # readable lines: where this comes from
    count: tuple[float, float] | None = None  # a stated number of the required findings lies in [low, high]


def expected_of(records: Sequence[Record]) -> Expected:
    """What the records of the chosen options ask for together: several answers unite what they require and what
    supports them, and what supports one of them contradicts none."""
    required = dict.fromkeys(item for record in records for item in required_items(record))
    favour = {finding for item in required for finding in item}
    supportive = {f for record in records for f in record.supportive} - favour
    return Expected(
        required=tuple(required),
        supportive=frozenset(supportive),
        contradicting=frozenset(f for record in records for f in record.contradicting) - favour - supportive,
        rules=tuple(f"knowledge ({record.label}): {record.rule}" for record in records),
    )


def required_items(record: Record) -> list[frozenset[str]]:
    """Each set is met by any one of its findings: a required finding alone, an any_of group by each of its own."""
    return [*(frozenset({finding}) for finding in record.required), *(frozenset(group) for group in record.any_of)]


def consistency(
    reading: Reading,
    *,
    answer: Sequence[str],
    concluded: bool,
    expected: Expected,
    max_claims: int,
    vocabulary: Vocabulary,
) -> Part:
    """How well the chain supports its own answer (after Fundus-R1's answer-dependent self-consistency).

    `concluded`: the chain's conclusion is its answer. With S the findings stated, R, P, C those that the answer
    requires, that support it and that contradict it, and G its groups, of each of which one finding is required:

        recall      = (|S & R| + groups that S meets) / (|R| + |G|)   1 where R and G are empty
        backed      = 1 if S & (R | P | groups) else 0      1 where R, P and G are empty
        for         = |S & (R | P | groups)|                no more than max_claims
        against     = |S & C| + findings both asserted and denied + findings stated beyond max_claims
                      + stated numbers that are not the answer's
        agreement   = for / (for + 2 against)               1 where both are 0
        consistency = (0.6 recall + 0.4 backed) x agreement
        and 0 where the conclusion is missing or is not the answer

    A finding in no list is neutral. Example, diabetic retinopathy, R = {microaneurysm}, P = {dot_blot_haemorrhage,
    hard_exudate, cotton_wool_spot}, C = {enlarged_cup, ...}:

        S = microaneurysm                          (0.6 + 0.4) x 1    = 1
        S = microaneurysm, hard_exudate            (0.6 + 0.4) x 1    = 1
        S = hard_exudate                           (0.0 + 0.4) x 1    = 0.4
        S = hard_exudate, enlarged_cup             (0.0 + 0.4) x 1/3  = 0.133
        S = all nine (1 + 3 for, 3 against)        (0.6 + 0.4) x 4/10 = 0.4
        S = nothing                                (0.0 + 0.0) x 1    = 0

    Why so: paying the share of stated findings that support the answer teaches a policy to omit findings; here leaving
    out a supportive or a neutral one gains nothing. Paying for the number of supportive findings teaches it to recite
    the textbook; here a further one gains nothing either, once a required one is stated and nothing contradicts.
    Not every record names contradicting findings, so a list of everything would cost nothing there: no image shows more
    than a dozen kinds of finding, and each one beyond max_claims counts against.

    What it cannot see is whether the findings are on the image: a chain that guesses a label and recites what that
    label requires is fully consistent. That is `grounding`'s question, and reward.gate_consistency's.
    """
    if not concluded:
        said = f"conclusion {reading.conclusion!r}" if reading.conclusion else "no conclusion"
        return Part(0.0, (*expected.rules, f"{said} but answer {', '.join(answer)!r}: consistency 0"))
    stated = stated_findings(reading)
    said_of = {item: item & set(stated) for item in expected.required}
    favour = set(stated) & ({f for item in expected.required for f in item} | expected.supportive)
    problems = _problems(reading, expected, stated, max_claims=max_claims, vocabulary=vocabulary)
    agreement = _agreement(min(len(favour), max_claims), sum(count for count, _ in problems))
    recall = sum(map(bool, said_of.values())) / len(said_of) if said_of else 1.0
    backed = float(bool(favour) or not (expected.required or expected.supportive))
    supportive = favour & expected.supportive
    reasons = [
        *sorted(_item_line(item, said, vocabulary) for item, said in said_of.items()),
        *([f"supportive and stated: {names(supportive, vocabulary)}"] if supportive else []),
        *(line for _, line in problems),
    ]
    return Part((REQUIRED_SHARE * recall + BACKED_SHARE * backed) * agreement, (*expected.rules, *reasons))


def _agreement(favour: int, against: int) -> float:
    return favour / (favour + CONTRADICTION_WEIGHT * against) if favour or against else 1.0


def _item_line(item: frozenset[str], said: frozenset[str], vocabulary: Vocabulary) -> str:
    if len(item) == 1:
        return f"required finding {names(item, vocabulary)}: {'stated' if said else 'not stated'}"
    group = names(item, vocabulary) if len(item) <= _NAMED else f"{len(item)} findings"
    return f"required, any of {group}: {names(said, vocabulary) if said else 'none'} stated"


def _problems(
    reading: Reading, expected: Expected, stated: Sequence[str], *, max_claims: int, vocabulary: Vocabulary
) -> list[tuple[int, str]]:
    """(how much counts against, why) of everything that does."""
    contradicting = set(stated) & expected.contradicting
    beyond = stated[max_claims:]
    numbers = _wrong_numbers(reading, expected)
    lines = (
        (contradicting, "stated but speaks against the answer"),
        (reading.contradictory, "both asserted and denied, counted as a contradiction"),
        (beyond, f"beyond the {max_claims} findings that count (reward.max_claims), counted as contradictions"),
        (numbers, "the number stated is not the answer's"),
    )
    return [(len(found), f"{why}: {names(found, vocabulary)}") for found, why in lines if found]


def _wrong_numbers(reading: Reading, expected: Expected) -> list[str]:
    if expected.count is None:
        return []
    low, high = expected.count
    asked = {finding for item in expected.required for finding in item}
    counted = ((m.finding, m.count) for m in reading.asserted if m.finding in asked)
    return [finding for finding, count in counted if count is not None and not low <= count <= high]
