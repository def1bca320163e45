"""Consistency by hand-computed numbers, and the ways to game it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from fundus_ray.data.rendered.phantoms import FINDING_RATES
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.chain import compose
from fundus_ray.reasoning.steps import Mention, read_chain
from fundus_ray.reward.conclusion import conclusion_agrees
from fundus_ray.reward.consistency import Expected, consistency, expected_of
from fundus_ray.reward.grounding import grounding
from fundus_ray.reward.part import Part, stated_findings
from fundus_ray.types import Modality

VOCABULARY = load_vocabulary()
RECORDS = load_records()
DR, AMD, RVO, HTR = (
    "diabetic retinopathy",
    "age-related macular degeneration",
    "retinal vein occlusion",
    "hypertensive retinopathy",
)
ALL_NINE = tuple(VOCABULARY.findings)[:9]


def judge(text: str, *answer: str, expected: Expected | None = None, max_claims: int = 12) -> Part:
    records = [record for option in answer if (record := RECORDS.get(option, Modality.CFP)) is not None]
    reading = read_chain(text, VOCABULARY)
    return consistency(
        reading,
        answer=answer,
        concluded=conclusion_agrees(reading.conclusion, answer=answer, vocabulary=VOCABULARY),
        expected=expected or expected_of(records),
        max_claims=max_claims,
        vocabulary=VOCABULARY,
    )


def score(findings: Sequence[str], *answer: str) -> float:
    text = compose(findings=[VOCABULARY.name(f) for f in findings], conclusion=", ".join(answer), letters=["A"])
    value = judge(text, *answer).value
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("findings", "answer", "value"),
    [
        (["microaneurysm"], DR, 1.0),  # (0.6 + 0.4) x 1
        (["microaneurysm", "hard_exudate", "cotton_wool_spot"], DR, 1.0),
        (["hard_exudate"], DR, 0.4),  # (0 + 0.4) x 1
        (["hard_exudate", "enlarged_cup"], DR, 0.4 / 3),  # 1 for, 1 against: 1 / (1 + 2)
        (["microaneurysm", "enlarged_cup"], DR, 1 / 3),
        (["microaneurysm", "drusen"], DR, 1.0),  # drusen are neutral: they come with age
        (["drusen"], DR, 0.0),
        (["enlarged_cup"], DR, 0.0),
        ([], DR, 0.0),
        (ALL_NINE, DR, 0.4),  # 1 + 3 for, 3 against: 4 / (4 + 6)
        ([], "normal", 1.0),
        (["drusen"], "normal", 1.0),
        (["microaneurysm"], "normal", 0.0),
        (["enlarged_cup", "flame_haemorrhage"], "glaucoma", 1.0),
        (["flame_haemorrhage"], "glaucoma", 0.4),
        (["flame_haemorrhage", "cotton_wool_spot", "venous_tortuosity"], HTR, 0.4 * 2 / 4),
        (["disc_on_right"], "right eye", 1.0),
        (["disc_on_left"], "right eye", 0.0),
        (["disc_on_left", "disc_on_right"], "right eye", 1 / 3),
        (["macula_in_centre"], "macula", 1.0),
    ],
)
def test_consistency_by_hand(findings: Sequence[str], answer: str, value: float) -> None:
    assert score(findings, answer) == pytest.approx(value)


def test_two_answers_unite_what_they_require_and_do_not_contradict_each_other() -> None:
    # R = {microaneurysm}, G = {{enlarged_cup, rim_thinning, rnfl_defect}}; arteriolar narrowing contradicts both.
    assert score(["microaneurysm", "enlarged_cup"], DR, "glaucoma") == pytest.approx(1.0)
    assert score(["microaneurysm"], DR, "glaucoma") == pytest.approx(0.6 * 0.5 + 0.4)
    assert score(["microaneurysm", "arteriolar_narrowing"], DR, "glaucoma") == pytest.approx(0.7 / 3)


def test_any_finding_of_a_group_meets_it_once() -> None:
    # R empty, one group G = {haemorrhages in four quadrants, venous beading, IRMA}.
    severe = "severe nonproliferative diabetic retinopathy"
    assert score(["irma"], severe) == pytest.approx(1.0)  # (0.6 x 1/1 + 0.4) x 1
    assert score(["irma", "venous_beading"], severe) == pytest.approx(1.0)
    assert score(["microaneurysm"], severe) == pytest.approx(0.4)  # (0 + 0.4) x 1
    assert score(["irma", "neovascularisation"], severe) == pytest.approx(1 / 3)  # 1 for, 1 against
    # With glaucoma's group beside it, one of two is met: 0.6 x 1/2 + 0.4.
    assert score(["irma"], severe, "glaucoma") == pytest.approx(0.7)
    # With what diabetic retinopathy requires beside it, |R| + |G| = 2 and both are met.
    assert score(["irma", "microaneurysm"], severe, DR) == pytest.approx(1.0)
    text = compose(findings=["IRMA"], conclusion=severe, letters=["A"])
    assert (
        "required, any of intraretinal microvascular abnormalities, haemorrhages in all four quadrants, venous "
        "beading: intraretinal microvascular abnormalities stated" in judge(text, severe).reasons
    )


def test_consistency_is_about_the_own_answer_not_the_right_one() -> None:
    assert score(["drusen"], AMD) > score(["drusen"], DR)
    assert score(["venous_tortuosity"], RVO) > score(["venous_tortuosity"], AMD)


@pytest.mark.parametrize("disease", sorted(FINDING_RATES))
def test_an_honest_chain_about_a_phantom_is_fully_consistent(disease: str) -> None:
    certain = [f for f, rate in FINDING_RATES[disease].items() if rate == 1.0]
    assert score(certain, disease) == 1.0
    assert score(list(FINDING_RATES[disease]), disease) == 1.0


@pytest.mark.parametrize("disease", sorted(FINDING_RATES))
def test_listing_every_finding_pays_less_than_listing_the_right_ones(disease: str) -> None:
    right = [f for f, rate in FINDING_RATES[disease].items() if rate == 1.0]
    assert score(ALL_NINE, disease) < score(right, disease)
    everything = grounding(ALL_NINE, right, vocabulary=VOCABULARY).value
    exact = grounding(right, right, vocabulary=VOCABULARY).value
    assert everything is not None
    assert exact is not None
    assert everything < exact


@pytest.mark.parametrize("disease", sorted(FINDING_RATES))
def test_leaving_out_a_finding_that_agrees_never_pays(disease: str) -> None:
    honest = list(FINDING_RATES[disease])
    for i in range(len(honest)):
        assert score(honest[:i] + honest[i + 1 :], disease) <= score(honest, disease)


def test_reciting_the_textbook_gains_no_consistency_and_costs_grounding() -> None:
    seen, recital = ["microaneurysm"], ["microaneurysm", "dot_blot_haemorrhage", "hard_exudate", "cotton_wool_spot"]
    assert score(recital, DR) == score(seen, DR)
    # 2 x 1 / (4 + 1)
    assert grounding(recital, seen, vocabulary=VOCABULARY).value == pytest.approx(0.4)
    assert grounding(seen, seen, vocabulary=VOCABULARY).value == 1.0


def test_repetition_padding_and_order_change_nothing() -> None:
    short = "<think>Findings: hard exudates, enlarged optic cup. Conclusion: AMD.</think><answer>A</answer>"
    long = short.replace("hard exudates,", "there are " + "hard exudates, lipid exudates, " * 20 + "cups:")
    swapped = short.replace("hard exudates, enlarged optic cup", "enlarged optic cup, hard exudates")
    values = [judge(text, AMD).value for text in (short, long, swapped)]
    assert values == pytest.approx([0.4 / 3] * 3)


def test_hedging_by_asserting_and_denying_counts_against() -> None:
    text = "<think>Findings: microaneurysms. No microaneurysms. Conclusion: DR.</think><answer>A</answer>"
    assert stated_findings(read_chain(text, VOCABULARY)) == ()
    assert judge(text, DR).value == 0.0
    with_evidence = text.replace("Findings: ", "Findings: hard exudates, ")
    assert judge(with_evidence, DR).value == pytest.approx(0.4 / 3)
    assert any("both asserted and denied" in r for r in judge(text, DR).reasons)


def test_denying_a_contradicting_finding_is_free() -> None:
    text = "<think>Findings: drusen. No microaneurysms. Conclusion: AMD.</think><answer>A</answer>"
    assert judge(text, AMD).value == 1.0


@pytest.mark.parametrize("conclusion", ["glaucoma", "not normal", "normal, glaucoma", "healthy but glaucoma"])
def test_another_conclusion_than_the_answer_is_not_consistent(conclusion: str) -> None:
    part = judge(f"<think>Findings: none. Conclusion: {conclusion}.</think><answer>A</answer>", "normal")
    assert part.value == 0.0
    assert part.reasons[-1] == f"conclusion '{conclusion}' but answer 'normal': consistency 0"


def test_a_missing_conclusion_is_not_consistent() -> None:
    part = judge("<think>Findings: microaneurysms.</think><answer>A</answer>", DR)
    assert part.value == 0.0
    assert part.reasons[-1] == f"no conclusion but answer '{DR}': consistency 0"


def test_reasons_name_the_rule_and_each_required_finding() -> None:
    reasons = judge(
        "<think>Findings: hard exudates, enlarged cup. Conclusion: diabetic retinopathy.</think><answer>B</answer>", DR
    ).reasons
    assert reasons[0].startswith("knowledge (diabetic retinopathy): Microaneurysms are the first sign")
    assert reasons[1:] == (
        "required finding microaneurysms: not stated",
        "supportive and stated: hard exudates",
        "stated but speaks against the answer: enlarged optic cup",
    )


def test_listing_everything_pays_less_also_where_a_record_names_no_contradiction() -> None:
    everything = sorted(VOCABULARY.findings, key=lambda f: f != "microaneurysm")  # the required one first
    bare = Expected(
        required=(frozenset({"microaneurysm"}),), supportive=frozenset(), contradicting=frozenset(), rules=()
    )
    text = compose(findings=[VOCABULARY.name(f) for f in everything], conclusion=DR, letters=["A"])
    listed = len(set(read_chain(text, VOCABULARY).findings))
    assert listed > 100
    part = judge(text, DR, expected=bare)
    # 1 for, all beyond the first twelve against
    assert part.value == pytest.approx(1 / (1 + 2 * (listed - 12)))
    assert any(r.startswith("beyond the 12 findings that count (reward.max_claims)") for r in part.reasons)
    assert judge(compose(findings=["microaneurysms"], conclusion=DR, letters=["A"]), DR, expected=bare).value == 1.0


def test_an_item_is_met_by_any_one_of_its_findings() -> None:
    either = Expected(
        required=(frozenset({"microaneurysm", "dot_blot_haemorrhage"}), frozenset({"hard_exudate"})),
        supportive=frozenset(),
        contradicting=frozenset(),
        rules=(),
    )
    chain = "<think>Findings: {}. Conclusion: diabetic retinopathy.</think><answer>A</answer>"
    both = judge(chain.format("dot and blot haemorrhages, hard exudates"), DR, expected=either)
    assert both.value == 1.0
    assert (
        "required, any of dot and blot haemorrhages, microaneurysms: dot and blot haemorrhages stated" in both.reasons
    )
    # Two of one item do not meet the other.
    one = judge(chain.format("microaneurysms, dot and blot haemorrhages"), DR, expected=either)
    assert one.value == pytest.approx(0.6 * 0.5 + 0.4)


def test_a_supposed_finding_is_not_stated() -> None:
    reading = dataclasses.replace(
        read_chain("<think>Findings: none. Conclusion: diabetic retinopathy.</think><answer>A</answer>", VOCABULARY),
        hedged=(Mention("microaneurysm", 0, 1),),
    )
    record = RECORDS.get(DR, Modality.CFP)
    assert record is not None
    part = consistency(
        reading,
        answer=(DR,),
        concluded=True,
        expected=expected_of([record]),
        max_claims=12,
        vocabulary=VOCABULARY,
    )
    assert part.value == 0.0
