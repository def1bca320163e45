"""The knowledge part by hand-computed numbers, and the ways to game it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import Mention, Reading, Relation, read_chain
from fundus_ray.reward.knowledge import NEUTRAL, knowledge, stated_relations
from fundus_ray.reward.part import Part
from fundus_ray.types import CheckedClaim, Verdict

VOCABULARY = load_vocabulary()
S, C, N = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_FOUND
DR = "diabetic retinopathy"


def judge(verdicts: Sequence[Verdict], *, beyond: int = 0, applies: bool = True) -> Part:
    claims = [CheckedClaim("drusen", DR, True, 0, 1, verdict, 1.0, "record", "", "why") for verdict in verdicts]
    return knowledge(claims, beyond=beyond, applies=applies, names=["drusen for it"] * len(claims))


def value(verdicts: Sequence[Verdict], *, beyond: int = 0) -> float:
    found = judge(verdicts, beyond=beyond).value
    assert found is not None
    return found


def reading_of(*relations: tuple[str, str, bool], asserted: str = "", denied: str = "", hedged: str = "") -> Reading:
    bare = read_chain("", VOCABULARY)

    def mentions(ids: str) -> tuple[Mention, ...]:
        return tuple(Mention(finding, 0, 1) for finding in ids.split())

    return dataclasses.replace(
        bare,
        asserted=mentions(asserted),
        denied=mentions(denied),
        hedged=mentions(hedged),
        relations=tuple(Relation(*r, 10 * i, 10 * i + 5) for i, r in enumerate(relations)),
    )


@pytest.mark.parametrize(
    ("verdicts", "beyond", "expected"),
    [
        ([S, S, S], 0, 1.0),
        ([S, C, N, N], 0, 0.5),
        ([S, S, C], 0, 2 / 3),
        ([C], 0, 0.0),
        ([N, N], 0, 0.5),
        ([], 0, 0.5),
        ([S] * 12, 18, 0.4),  # 12 / (12 + 18)
        ([N] * 12, 3, 0.0),
    ],
)
def test_knowledge_by_hand(verdicts: list[Verdict], beyond: int, expected: float) -> None:
    assert value(verdicts, beyond=beyond) == pytest.approx(expected)


def test_it_is_masked_where_the_question_is_not_one_of_diseases_whatever_is_stated() -> None:
    assert judge([S, C], applies=False).value is None
    assert judge([], applies=False).value is None


def test_a_checker_that_finds_nothing_gives_every_rollout_the_same_and_so_no_gradient() -> None:
    assert {value([N] * stated) for stated in range(10)} == {NEUTRAL}


def test_omitting_a_supported_relation_never_pays() -> None:
    for size in range(6):
        for verdicts in itertools.product((S, C, N), repeat=size):
            for i in range(size):
                left = [*verdicts[:i], *verdicts[i + 1 :]]
                if verdicts[i] is S:
                    assert value(left) <= value(verdicts)
                if verdicts[i] is N:
                    assert value(left) == value(verdicts)


@pytest.mark.parametrize("truth", [0.6, 0.9])
def test_stating_more_or_fewer_relations_of_the_same_truth_gains_nothing_on_average(truth: float) -> None:
    for count in range(1, 8):
        mean = sum(
            truth ** verdicts.count(S) * (1 - truth) ** verdicts.count(C) * value(verdicts)
            for verdicts in itertools.product((S, C), repeat=count)
        )
        assert mean == pytest.approx(truth)
    # A reason that is likelier true than not is worth stating: silence has less.
    assert truth > value([])


def test_a_relation_stated_many_times_counts_once() -> None:
    stated = [("microaneurysm", DR, True)] * 30 + [("drusen", DR, True)]
    relations, beyond = stated_relations(reading_of(*stated, asserted="microaneurysm drusen"), max_claims=12)
    assert [(r.finding, r.start) for r in relations] == [("microaneurysm", 0), ("drusen", 300)]
    assert beyond == 0


def test_listing_all_relations_pays_less_than_stating_the_true_ones() -> None:
    findings = list(VOCABULARY.findings)[:40]
    reading = reading_of(*((f, DR, True) for f in findings), asserted=" ".join(findings))
    relations, beyond = stated_relations(reading, max_claims=12)
    assert (len(relations), beyond) == (12, 28)
    assert value([S] * 12, beyond=beyond) < value([S, S, S])  # even where the first twelve are all true


def test_stating_a_relation_and_its_opposite_is_no_better_than_silence() -> None:
    both = reading_of(("drusen", DR, True), ("drusen", DR, False), asserted="drusen")
    relations, _ = stated_relations(both, max_claims=12)
    assert [r.supports for r in relations] == [True, False]
    assert value([S, C]) == value([])


@pytest.mark.parametrize(
    "denial",
    [
        "There is no enlarged cup, which argues against glaucoma.",
        "There are no microaneurysms, which argues against diabetic retinopathy.",
        "There is no enlarged cup, which supports diabetic retinopathy.",
        "There are no new vessels, which rules out proliferative diabetic retinopathy.",
    ],
)
@pytest.mark.parametrize("answer", ["diabetic retinopathy", "glaucoma", "normal"])
def test_a_denied_finding_gives_no_reason_whatever_the_answer(denial: str, answer: str) -> None:
    chain = f"<think>Findings: hard exudates. {denial} Conclusion: {answer}.</think><answer>A</answer>"
    reading = read_chain(chain, VOCABULARY)
    assert reading.relations  # the relation is read, but does not count
    assert stated_relations(reading, max_claims=12) == ((), 0)


def test_a_true_denial_does_not_make_up_for_a_false_reason() -> None:
    chain = (
        "<think>Findings: enlarged cup. Enlarged cup indicates diabetic retinopathy. There are no microaneurysms, "
        "which argues against hypertensive retinopathy. Conclusion: diabetic retinopathy.</think><answer>A</answer>"
    )
    relations, _ = stated_relations(read_chain(chain, VOCABULARY), max_claims=12)
    assert [(r.finding, r.label, r.supports) for r in relations] == [("enlarged_cup", DR, True)]
    assert (value([C]), value([C, S])) == (0.0, 0.5)  # 0 / 1, and what the denial would have made of it: 1 / 2


def test_a_finding_that_is_supposed_or_said_both_ways_gives_no_reason() -> None:
    supposed = reading_of(("drusen", DR, True), hedged="drusen")
    both = reading_of(("drusen", DR, True), asserted="drusen", denied="drusen")
    assert stated_relations(supposed, max_claims=12) == ((), 0)
    assert stated_relations(both, max_claims=12) == ((), 0)


def test_a_chains_reasons_are_read_as_relations() -> None:
    text = (
        "<think>Findings: microaneurysms, drusen. Required: microaneurysms. Conclusion: diabetic retinopathy.</think>"
        "<answer>A</answer>"
    )
    relations, _ = stated_relations(read_chain(text, VOCABULARY), max_claims=12)
    assert [(r.finding, r.label, r.supports) for r in relations] == [("microaneurysm", DR, True)]


def test_reasons_name_each_relation_with_its_verdict() -> None:
    assert judge([S, N], beyond=2).reasons == (
        "drusen for it: supported (why)",
        "drusen for it: not found (why)",
        "2 relations beyond those that count (reward.max_claims), counted as contradicted",
    )
    assert judge([]).reasons == ("no relation from a stated finding to a disease: knowledge 0.5, which is neutral",)
