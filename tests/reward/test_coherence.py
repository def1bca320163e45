"""Coherence by hand-computed numbers, and the ways to game it."""

from __future__ import annotations

import dataclasses

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import Reading, Relation, read_chain
from fundus_ray.reward.coherence import coherence
from fundus_ray.reward.conclusion import conclusion_agrees
from fundus_ray.reward.part import Part

VOCABULARY = load_vocabulary()
DR, GLAUCOMA = "diabetic retinopathy", "glaucoma"
CHAIN = "<think>Findings: enlarged cup. Conclusion: glaucoma.</think><answer>A</answer>"


def judge(reading: Reading, *answer: str) -> Part:
    labels = {label for option in answer if (label := VOCABULARY.label(option))}
    return coherence(
        reading,
        answer=answer,
        concluded=conclusion_agrees(reading.conclusion, answer=answer, vocabulary=VOCABULARY),
        labels=labels,
        vocabulary=VOCABULARY,
    )


def with_relations(text: str, *relations: tuple[str, str, bool]) -> Reading:
    stated = tuple(Relation(finding, label, supports, 0, 1) for finding, label, supports in relations)
    return dataclasses.replace(read_chain(text, VOCABULARY), relations=stated)


@pytest.mark.parametrize(
    ("text", "relations", "value"),
    [
        (CHAIN, [], 1.0),  # (1 + 1) / 2
        (CHAIN, [("enlarged_cup", GLAUCOMA, True)], 1.0),
        (CHAIN, [("microaneurysm", DR, True)], 0.5),  # (1 + 0) / 2
        (CHAIN, [("microaneurysm", DR, True), ("enlarged_cup", GLAUCOMA, True)], 1.0),
        (CHAIN, [("microaneurysm", DR, False)], 1.0),
        (CHAIN, [("enlarged_cup", GLAUCOMA, True), ("enlarged_cup", GLAUCOMA, False)], 0.5),  # 1 clash
        (CHAIN.replace("cup.", "cup, drusen. No drusen."), [], 0.5),
        (CHAIN.replace("cup.", "cup. No enlarged cup."), [("microaneurysm", DR, True)], 0.25),
        (CHAIN.replace("Conclusion: glaucoma", "Conclusion: normal"), [], 0.0),
        (CHAIN.replace("Conclusion: glaucoma.", ""), [], 0.0),
        ("<think>Findings: none. Conclusion: glaucoma.</think><answer>A</answer>", [], 1.0),
        # The finding comes after what it should lead to: (0 + 1) / 2.
        ("<think>Conclusion: glaucoma. Findings: enlarged cup.</think><answer>A</answer>", [], 0.5),
    ],
)
def test_coherence_by_hand(text: str, relations: list[tuple[str, str, bool]], value: float) -> None:
    assert judge(with_relations(text, *relations), GLAUCOMA).value == pytest.approx(value)


def test_saying_more_never_raises_it() -> None:
    longer = CHAIN.replace("enlarged cup.", "enlarged cup, " + "enlarged cup, drusen, hard exudates, " * 20 + "pallor.")
    relations = [("enlarged_cup", GLAUCOMA, True), ("drusen", DR, True), ("hard_exudate", DR, True)] * 20
    assert judge(with_relations(longer, *relations), GLAUCOMA).value == judge(with_relations(CHAIN), GLAUCOMA).value


def test_relating_a_finding_both_ways_is_a_clash_and_not_a_hedge() -> None:
    both = [(f, GLAUCOMA, way) for f in ("enlarged_cup", "drusen") for way in (True, False)]
    part = judge(with_relations(CHAIN, *both), GLAUCOMA)
    assert part.value == pytest.approx(1 / 3)
    assert part.reasons == (
        "said both for and against glaucoma: drusen",
        "said both for and against glaucoma: enlarged optic cup",
    )


def test_an_answer_that_is_no_label_needs_no_reasons_for_it() -> None:
    text = "<think>Findings: none. Conclusion: optical coherence tomography.</think><answer>A</answer>"
    assert judge(with_relations(text, ("drusen", DR, True)), "Optical coherence tomography").value == 1.0


def test_what_an_absent_finding_rules_out_is_not_what_the_reasons_lead_to() -> None:
    severe = "severe nonproliferative diabetic retinopathy"
    chain = (
        "<think>Findings: IRMA. No neovascularisation, which rules out proliferative diabetic retinopathy. "
        f"Conclusion: {severe}.</think><answer>A</answer>"
    )
    reading = read_chain(chain, VOCABULARY)
    (relation,) = reading.relations
    assert (relation.label, relation.supports, relation.speaks_for) == (
        "proliferative diabetic retinopathy",
        False,
        True,
    )
    assert judge(reading, severe).value == 1.0


def test_reasons_can_be_read() -> None:
    assert judge(with_relations(CHAIN, ("microaneurysm", DR, True)), GLAUCOMA).reasons == (
        "the reasons speak for diabetic retinopathy, not for the answer",
    )
    assert judge(read_chain(CHAIN, VOCABULARY), DR).reasons == (
        "coherence 0: the conclusion 'glaucoma' is not the answer 'diabetic retinopathy'",
    )
    without = read_chain("<think>Findings: enlarged cup.</think><answer>A</answer>", VOCABULARY)
    assert judge(without, GLAUCOMA).reasons == ("coherence 0: there is no conclusion",)
