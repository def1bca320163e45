"""Process rewards by hand-computed numbers, and the ways to game them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fundus_ray.data.phantoms import FINDING_RATES
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.chain import compose
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.process import Part, conclusion_agrees, consistency, grounding, stated_findings
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


def judge(text: str, *answer: str, modality: Modality = Modality.CFP) -> Part:
    records = [RECORDS.get(option, modality) for option in answer]
    return consistency(read_chain(text, VOCABULARY), answer=answer, records=records, vocabulary=VOCABULARY)


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


@pytest.mark.parametrize(
    ("conclusion", "answer", "agrees"),
    [
        ("AMD", [AMD], True),
        ("signs of age related macular degeneration", [AMD], True),
        ("glaucoma and diabetic retinopathy", [DR, "glaucoma"], True),
        ("glaucoma", [DR, "glaucoma"], False),
        ("glaucoma, not AMD", ["glaucoma"], True),
        ("Grade 2, moderate", ["grade 2, moderate"], True),
        ("grade 2", ["grade 3"], False),
        ("severe diabetic retinopathy", ["mild diabetic retinopathy"], False),
        (None, ["glaucoma"], False),
    ],
)
def test_conclusion_agrees_by_text_or_label(conclusion: str | None, answer: list[str], agrees: bool) -> None:
    assert conclusion_agrees(conclusion, answer=answer, vocabulary=VOCABULARY) is agrees


def test_without_a_record_consistency_does_not_apply() -> None:
    text = "<think>Findings: drusen. Conclusion: squint.</think><answer>A</answer>"
    part = judge(text, "squint")
    assert part.value is None
    assert part.reasons == ("consistency does not apply: no knowledge record of 'squint'",)
    assert judge(text, "left eye", modality=Modality.OCT).value is None
    assert judge(text, AMD, "squint").value is None


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


@pytest.mark.parametrize(
    ("stated", "annotated", "value"),
    [
        (["drusen", "hard_exudate"], ["drusen", "enlarged_cup", "flame_haemorrhage"], 0.4),  # 2 x 1 / (2 + 3)
        (["drusen"], ["drusen", "hard_exudate"], 2 / 3),
        (["drusen"], ["drusen"], 1.0),
        (["drusen"], [], 0.0),
        ([], ["drusen"], 0.0),
        ([], [], 1.0),
        (["drusen", "drusen"], ["drusen"], 1.0),
        (ALL_NINE, ["drusen"], 0.2),  # 2 x 1 / (9 + 1)
    ],
)
def test_grounding_is_f1_by_hand(stated: list[str], annotated: list[str], value: float) -> None:
    assert grounding(stated, annotated, vocabulary=VOCABULARY).value == pytest.approx(value)


def test_grounding_says_what_was_missed_and_made_up() -> None:
    part = grounding(["drusen", "hard_exudate"], ["drusen", "enlarged_cup"], vocabulary=VOCABULARY)
    assert part.reasons == (
        "on the image and stated: drusen",
        "on the image but missed: enlarged optic cup",
        "stated but not on the image: hard exudates",
    )


def test_an_image_without_annotation_has_no_grounding() -> None:
    assert grounding(["drusen"], None, vocabulary=VOCABULARY).value is None
