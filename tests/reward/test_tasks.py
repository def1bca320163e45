"""What the process parts mean for each kind of question."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from fundus_ray.data.questions import wording
from fundus_ray.knowledge.records import load_records
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.consistency import consistency
from fundus_ray.reward.tasks import (
    FUNBENCH,
    HEALTHY,
    TASKS,
    Against,
    Scope,
    asked_lesion,
    concludes,
    expected,
    in_annotators_terms,
    rule_of,
)
from fundus_ray.types import ImageRef, Modality, Sample

RECORDS = load_records()
VOCABULARY = RECORDS.vocabulary
YES_NO = ("Yes", "No")
COUNTS = ("Not observed in the image", "<=5", "5-15", "15-25", "25-35", ">35")
SIDES = ("Temporal side of the optic disc center", "Superior side of the optic disc center", COUNTS[0])
LESIONS = yaml.safe_load((Path(__file__).parents[1] / "funbench_lesions.yaml").read_text(encoding="utf-8"))
ANY_MA = "Is there any Microaneurysm in the image?"
ANY_ABNORMALITY = "Is there any abnormality in the image?"
ANATOMY = (
    "disc_on_left",
    "disc_on_right",
    "disc_in_centre",
    "macula_in_centre",
    "arcade_in_centre",
    "normal_foveal_contour",
    "regular_layers",
)


def make(
    task: str, question: str, options: Sequence[str], *, modality: Modality = Modality.CFP, right: str = ""
) -> Sample:
    return Sample(
        id="s",
        image=ImageRef("x.png", "0", 112, 112),
        modality=modality,
        question=question,
        options=tuple(options),
        answer=(right or options[0],),
        task=task,
        source="test",
        split="train",
        patient_id="p",
    )


def value(sample: Sample, findings: str, conclusion: str, letters: str) -> float | None:
    """Consistency of a chain in the grammar."""
    text = f"<think>Findings: {findings}. Conclusion: {conclusion}.</think><answer>{letters}</answer>"
    reading, rule = read_chain(text, VOCABULARY), rule_of(sample, RECORDS)
    answer = choose(reading.answer, sample.options)
    assert answer is not None
    asked_for = expected(rule, sample, answer=answer, records=RECORDS)
    if isinstance(asked_for, str):
        return None
    return consistency(
        reading,
        answer=answer,
        concluded=concludes(rule, sample, reading=reading, answer=answer, vocabulary=VOCABULARY),
        expected=asked_for,
        max_claims=12,
        vocabulary=VOCABULARY,
    ).value


@pytest.mark.parametrize(
    ("findings", "conclusion", "letter", "consistent"),
    [
        ("microaneurysms", "Yes", "A", 1.0),
        ("microaneurysms, drusen", "microaneurysms are present", "A", 1.0),
        ("hard exudates", "Yes", "A", 0.0),  # the chain does not state what it answers
        ("no microaneurysms", "Yes", "A", 0.0),
        ("none", "No", "B", 1.0),
        ("no microaneurysms", "no microaneurysm", "B", 1.0),
        ("hard exudates", "No", "B", 1.0),
        ("microaneurysms", "No", "B", 0.0),
        ("microaneurysms", "Yes", "B", 0.0),
    ],
)
def test_a_question_about_one_lesion_is_consistent_where_the_chain_states_it_exactly_if_it_answers_yes(
    findings: str, conclusion: str, letter: str, consistent: float
) -> None:
    assert value(make("lesion", ANY_MA, YES_NO), findings, conclusion, letter) == consistent


def test_a_kind_of_the_lesion_is_the_lesion() -> None:
    sample = make("lesion", "Is there any Haemorrhage in the image?", YES_NO)
    assert value(sample, "flame haemorrhages", "Yes", "A") == 1.0
    assert value(sample, "flame haemorrhages", "No", "B") == 0.0
    assert value(sample, "vitreous haemorrhage", "No", "B") == 1.0


@pytest.mark.parametrize(
    ("findings", "conclusion", "letter", "consistent"),
    [
        ("microaneurysms", "5-15", "C", 1.0),
        ("microaneurysms", "several microaneurysms", "C", 1.0),
        ("microaneurysms", "25-35 microaneurysms", "C", 0.0),  # another option's range
        ("none", "Not observed in the image", "A", 1.0),
        ("microaneurysms", "Not observed in the image", "A", 0.0),
        ("none", "5-15", "C", 0.0),
    ],
)
def test_a_count_needs_the_lesion_unless_the_answer_denies_it(
    findings: str, conclusion: str, letter: str, consistent: float
) -> None:
    sample = make("count", "How many Microaneurysm are there in the image?", COUNTS)
    assert value(sample, findings, conclusion, letter) == consistent


@pytest.mark.parametrize(
    ("option", "bounds"),
    [
        ("<=5", (0, 5)),
        ("5-15", (5, 15)),
        ("5 to 15", (5, 15)),
        (">35", (35, float("inf"))),
        ("No more than 5", (0, 5)),
        ("Between 5 and 15", (5, 15)),
        ("More than 35 ", (35, float("inf"))),
        ("12", (12, 12)),
        ("many", None),
        (COUNTS[0], None),
    ],
)
def test_the_range_of_a_count_is_read_from_the_option(option: str, bounds: tuple[float, float] | None) -> None:
    sample = make("count", "How many Microaneurysm are there in the image?", [option])
    asked_for = expected(TASKS["count"], sample, answer=[option], records=RECORDS)
    assert not isinstance(asked_for, str)
    assert asked_for.count == bounds


def test_several_locations_say_that_the_lesion_is_there() -> None:
    sample = make("location", "Where is the Hard exudate?", SIDES)
    both = f"{SIDES[0]}, {SIDES[1]}"
    assert value(sample, "hard exudates", both, "A,B") == 1.0
    assert value(sample, "none", both, "A,B") == 0.0
    assert value(sample, "hard exudates", SIDES[2], "C") == 0.0


@pytest.mark.parametrize(
    ("findings", "conclusion", "letter", "consistent"),
    [
        ("none", "normal", "B", 1.0),
        ("drusen", "No", "B", 1.0),  # a few belong to age
        ("hard exudates", "No", "B", 0.0),
        ("hard exudates", "diabetic retinopathy", "A", 1.0),
        ("drusen", "abnormal", "A", 1.0),  # and still they may be why an eye is abnormal
        ("drusen, optic disc on the left", "Yes", "A", 1.0),
        ("optic disc on the left", "Yes", "A", 0.0),  # as in every left eye
        ("no drusen", "Yes", "A", 0.0),
        ("none", "Yes", "A", 0.0),
        ("hard exudates", "normal", "A", 0.0),
    ],
)
def test_an_abnormal_image_needs_a_sign_and_a_normal_one_none_that_its_record_excludes(
    findings: str, conclusion: str, letter: str, consistent: float
) -> None:
    assert value(make("abnormality", ANY_ABNORMALITY, YES_NO), findings, conclusion, letter) == consistent


def test_what_a_healthy_scan_shows_makes_none_abnormal() -> None:
    scan = make("abnormality", ANY_ABNORMALITY, YES_NO, modality=Modality.OCT)
    assert value(scan, "normal foveal contour, regular retinal layers", "abnormal", "A") == 0.0
    assert value(scan, "normal foveal contour, choroidal folds", "abnormal", "A") == 1.0
    photograph = make("abnormality", ANY_ABNORMALITY, YES_NO)
    assert value(photograph, "regular retinal layers", "abnormal", "A") == 0.0
    assert all(any(label == known for known, _ in RECORDS.by_key) for label in HEALTHY)


def test_listing_signs_does_not_pay_for_an_abnormal_image() -> None:
    sample = make("abnormality", ANY_ABNORMALITY, YES_NO)
    signs = [VOCABULARY.name(f) for f in VOCABULARY.findings if f not in ANATOMY]
    assert value(sample, ", ".join(signs[:12]), "Yes", "A") == value(sample, signs[0], "Yes", "A") == 1.0
    assert value(sample, ", ".join(signs[:13]), "Yes", "A") == pytest.approx(12 / (12 + 2 * 1))
    every = value(sample, ", ".join(signs), "Yes", "A")
    assert every == pytest.approx(12 / (12 + 2 * (len(signs) - 12)))  # no more than twelve are for it


def test_the_reason_for_an_abnormal_image_fits_on_a_line() -> None:
    sample = make("abnormality", ANY_ABNORMALITY, YES_NO)
    asked_for = expected(TASKS["abnormality"], sample, answer=("Yes",), records=RECORDS)
    assert not isinstance(asked_for, str)
    reading = read_chain("<think>Findings: drusen. Conclusion: Yes.</think><answer>A</answer>", VOCABULARY)
    part = consistency(
        reading, answer=("Yes",), concluded=True, expected=asked_for, max_claims=12, vocabulary=VOCABULARY
    )
    count = len(VOCABULARY.findings) - len(ANATOMY)
    assert part.reasons == (
        "the answer says that something is abnormal",
        f"required, any of {count} findings: drusen stated",
    )


def test_naming_one_more_finding_cannot_hide_a_wrong_yes() -> None:
    sample = make("lesion", ANY_MA, YES_NO)
    others = [f for f in VOCABULARY.findings if f != "microaneurysm"][:11]
    assert value(sample, ", ".join(map(VOCABULARY.name, others)), "Yes", "A") == 0.0


def test_grades_and_several_diagnoses_are_held_against_their_records() -> None:
    grades = ("No any diabetic retinopathy", "Severe nonproliferative diabetic retinopathy")
    assert value(make("grading", "Which grade?", grades), "microaneurysms", grades[0], "A") == 0.0
    assert value(make("grading", "Which grade?", grades), "none", grades[0], "A") == 1.0
    several = make("diagnosis", "Which conditions?", ("diabetic retinopathy", "glaucoma", "No abnormality"))
    both = "diabetic retinopathy, glaucoma"
    assert value(several, "microaneurysms, enlarged cup", both, "A,B") == 1.0
    assert value(several, "microaneurysms", both, "A,B") == pytest.approx(0.6 / 2 + 0.4)


def test_what_kind_of_image_it_is_has_nothing_to_do_with_findings() -> None:
    sample = make("modality", "Which modality?", ("Color fundus photography", "Optical coherence tomography"))
    assert value(sample, "drusen", "Color fundus photography", "A") is None
    rule = rule_of(sample, RECORDS)
    assert (rule.knowledge, rule.grounding) == (False, Scope.NOTHING)


@pytest.mark.parametrize(
    ("question", "options", "against"),
    [
        ("What is it?", ("glaucoma", "squint"), Against.RECORDS),
        (ANY_MA, YES_NO, Against.LESION),
        ("Is it a left eye?", YES_NO, Against.NOTHING),
        ("How sharp?", ("sharp", "blurred"), Against.NOTHING),
    ],
)
def test_a_task_that_the_table_does_not_know_is_judged_by_its_options(
    question: str, options: tuple[str, ...], against: Against
) -> None:
    assert rule_of(make("my own task", question, options), RECORDS).consistency is against


def test_a_free_answer_is_judged_by_its_record() -> None:
    sample = make("question", "What is it?", (), right="glaucoma")
    assert rule_of(sample, RECORDS).consistency is Against.RECORDS


@pytest.mark.parametrize("question", ["Is there any abnormality?", "Are there drusen or hard exudates?"])
def test_a_question_that_names_no_finding_or_several_asks_for_no_lesion(question: str) -> None:
    sample = make("lesion", question, YES_NO)
    assert asked_lesion(sample, VOCABULARY) == frozenset()
    assert value(sample, "drusen", "Yes", "A") is None


def test_without_a_record_consistency_does_not_apply() -> None:
    eyes = ("left eye", "right eye")
    assert value(make("laterality", "Which eye?", eyes), "optic disc on the left", "left eye", "A") == 1.0
    assert value(make("laterality", "Which eye?", eyes, modality=Modality.OCT), "none", "left eye", "A") is None
    mixed = make("diagnosis", "Which?", ("glaucoma", "squint"))
    answer = ("glaucoma", "squint")
    said = expected(rule_of(mixed, RECORDS), mixed, answer=answer, records=RECORDS)
    assert said == "consistency does not apply: no knowledge record of 'squint'"


@pytest.mark.parametrize("lesion", LESIONS)
def test_every_lesion_that_funbench_asks_for_is_known(lesion: str) -> None:
    name = lesion.replace("_", " ")
    sample = make("lesion", f"Is there any {name} in the image?", YES_NO)
    assert value(sample, name, f"{name} is present", "A") == 1.0
    assert value(sample, f"no {name}", f"no {name}", "B") == 1.0
    assert value(sample, f"no {name}", "Yes", "A") == 0.0


def test_a_stated_number_must_be_the_answers() -> None:
    sample = make("count", "How many Microaneurysm are there in the image?", COUNTS)
    text = "<think>Findings: microaneurysms. Conclusion: 5-15.</think><answer>C</answer>"
    reading = read_chain(text, VOCABULARY)
    asked_for = expected(TASKS["count"], sample, answer=("5-15",), records=RECORDS)
    assert not isinstance(asked_for, str)

    def with_count(count: int | None) -> float | None:
        counted = dataclasses.replace(reading, asserted=(dataclasses.replace(reading.asserted[0], count=count),))
        return consistency(
            counted, answer=("5-15",), concluded=True, expected=asked_for, max_claims=12, vocabulary=VOCABULARY
        ).value

    assert [with_count(n) for n in (None, 5, 12, 15)] == [1.0] * 4
    assert [with_count(n) for n in (3, 40)] == [pytest.approx(1 / 3)] * 2  # 1 for, 1 against


@pytest.mark.parametrize(
    ("conclusion", "consistent"),
    [("B", 1.0), ("(B)", 1.0), ("B) diabetic retinopathy", 1.0), ("A", 0.0), ("A, B", 0.0), ("D", 0.0)],
)
def test_a_conclusion_may_be_the_letter_of_the_answer(conclusion: str, consistent: float) -> None:
    which = make("diagnosis", "Which disease?", ["normal", "diabetic retinopathy", "glaucoma"])
    assert value(which, "microaneurysms", conclusion, "B") == consistent


def test_a_letter_concludes_yes_or_no_too() -> None:
    drusen = make("lesion", "Are there drusen?", ["Yes", "No"])
    assert [value(drusen, "drusen", letter, "A") for letter in "AB"] == [1.0, 0.0]


def test_the_benchmarks_twelve_tasks_are_known_by_its_own_names() -> None:
    assert set(FUNBENCH) == set(wording.TASKS)
    assert set(FUNBENCH.values()) == set(TASKS)
    sample = make("L3d", "How many Microaneurysm are there in the image?", wording.COUNT_BINS)
    assert rule_of(sample, RECORDS) is TASKS["count"]
    assert value(sample, "microaneurysms", "Between 5 and 15", "B") == 1.0
    assert value(sample, "none", "Between 5 and 15", "B") == 0.0


@pytest.mark.parametrize("lesion", wording.LESIONS)
def test_questions_about_a_lesion_name_it_so_that_it_is_understood(lesion: str) -> None:
    for task in ("L3a", "L3b", "L3c", "L3d"):
        for text in wording.TEXTS[task]:
            asked = asked_lesion(make(task, text.format(lesion=wording.LESIONS[lesion]), YES_NO), VOCABULARY)
            assert lesion in asked, text


def annotated(*findings: str, looked_for: tuple[str, ...] | None) -> Sample:
    return dataclasses.replace(make("L4c", "?", YES_NO), findings=findings, looked_for=looked_for)


@pytest.mark.parametrize(
    ("stated", "looked_for", "counts"),
    [
        (["drusen", "enlarged_cup"], None, ("drusen", "enlarged_cup")),  # they looked for everything
        (["drusen", "enlarged_cup"], ("drusen",), ("drusen",)),  # of a cup nothing is known
        (["flame_haemorrhage", "dot_blot_haemorrhage"], ("retinal_haemorrhage",), ("retinal_haemorrhage",)),
        (["flame_haemorrhage"], ("dot_blot_haemorrhage",), ()),  # another kind
        (["hard_exudate"], ("drusen",), ("hard_exudate",)),  # annotated, though not looked for everywhere
    ],
)
def test_stated_findings_are_held_against_what_the_annotators_looked_for(
    stated: list[str], looked_for: tuple[str, ...] | None, counts: tuple[str, ...]
) -> None:
    assert in_annotators_terms(stated, annotated("hard_exudate", looked_for=looked_for)) == counts
