"""How a question is put: in which words, with which options first, and what the first token says of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from funbench_replica import L1B, L3B, L4C

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.asking import BENCHMARK, FORMS, letter_scores, reordered, words
from fundus_ray.evaluate.benchmarks.choice_prompt import choice_prompt
from fundus_ray.evaluate.benchmarks.modality import shown_modality
from fundus_ray.evaluate.benchmarks.question import Question
from fundus_ray.types import Modality

OPTIONS = ("Fovea", "Optic disc", "Yes, both", "Neither of them")
E3 = "Choose.\nThe question is: Which?\nThe options are: A. Fovea, B. Optic disc, C. Yes, both, D. Neither of them."
QUESTION = Question(
    file=L4C,
    key="DDR/1.jpg",
    image="DDR/1.jpg",
    patient="DDR/1.jpg",
    question="Which?",
    options=OPTIONS,
    gold=("Yes, both",),
    several=False,
    prompts={"E-mode3": E3, "E-mode2": "Description: red dots." + E3},
)


def test_the_benchmarks_own_text_goes_alone_and_to_the_letter() -> None:
    assert words(QUESTION, form=BENCHMARK, e_mode=3) == ("", E3)
    assert words(QUESTION, form=BENCHMARK, e_mode=2) == ("", "Description: red dots." + E3)
    without = replace(QUESTION, prompts={"E-mode3": E3})
    assert words(without, form=BENCHMARK, e_mode=2) is None
    plain = replace(QUESTION, prompts={"plain": "Which?"})
    assert words(plain, form=BENCHMARK, e_mode=3) == ("", "Which?")


def test_this_projects_forms_tell_the_modality_but_not_where_it_is_asked_for() -> None:
    said = words(QUESTION, form="think", e_mode=3)
    assert said is not None
    assert said[0] == "You are an ophthalmologist reading a colour fundus photograph."
    assert said[1].splitlines()[:3] == ["Which?", "A. Fovea", "B. Optic disc"]
    for question in (
        replace(QUESTION, file=L1B),
        replace(QUESTION, file="x.json", groups={"question_type": "Modality Recognition", "modality_type": "OCT"}),
    ):
        hidden = words(question, form="direct", e_mode=3)
        assert hidden is not None
        assert hidden[0] == "You are an ophthalmologist reading an image."


def test_several_right_options_are_asked_for_in_every_form_of_ours() -> None:
    several = replace(QUESTION, file=L3B.format(0, "Haemorrhage"), several=True)
    for form in FORMS[1:]:
        said = words(several, form=form, e_mode=3)
        assert said is not None
        assert "letters, with commas" in said[1]


@pytest.mark.parametrize(
    ("image", "groups", "modality"),
    [
        ("TOP/TOP/001805_00.jpg", {}, Modality.UWF),
        ("OIA-ODIR/On-site Test Set/Images/4833_left.jpg", {}, Modality.CFP),
        ("DeepDRiD/ultra-widefield_images/58/58_l2.jpg", {}, Modality.UWF),
        ("DeepDRiD/regular_fundus_images/58/58_l2.jpg", {}, Modality.CFP),
        ("OCTDL/OCTDL/AMD/amd_2135874_1.jpg", {}, Modality.OCT),
        ("RETOUCH/pre_processed/oct_imgs/x.png", {}, Modality.OCT),
        ("NEH/x/y.png", {}, Modality.OCT),
        ("phantoms-uwf/images/7.png", {}, Modality.UWF),
        ("phantoms-oct/images/7.png", {}, Modality.OCT),
        ("lesions-on-photo/images/7.png", {}, Modality.CFP),
        ("unheard_of/october.png", {}, None),
        ("a.png", {"modality_type": "OCT (Optical Coherence Tomography"}, Modality.OCT),
        ("a.png", {"modality": "Fundus Photography"}, Modality.CFP),
        ("OCTDL/a.png", {"modality": "MRI"}, None),
    ],
)
def test_modality_is_read_from_the_benchmarks_field_or_the_images_folder(
    image: str, groups: dict[str, str], modality: Modality | None
) -> None:
    assert shown_modality(replace(QUESTION, image=image, groups=groups)) is modality


def moved_options(question: Question, *, seed: int, form: str = BENCHMARK, e_mode: int = 3) -> Question:
    return reordered(question, seed=seed, form=form, e_mode=e_mode)


def test_another_order_moves_options_and_their_letters_and_nothing_else() -> None:
    moved = moved_options(QUESTION, seed=1)
    assert moved.options != OPTIONS
    assert sorted(moved.options) == sorted(OPTIONS)
    assert moved.gold == QUESTION.gold
    a, b, c, d = moved.options
    assert moved.prompts["E-mode3"].endswith(f"The options are: A. {a}, B. {b}, C. {c}, D. {d}.")
    described = moved_options(QUESTION, seed=1, e_mode=2)
    assert described.prompts == {"E-mode2": "Description: red dots." + moved.prompts["E-mode3"]}
    assert moved_options(QUESTION, seed=1) == moved
    assert len({moved_options(QUESTION, seed=seed).options for seed in range(8)}) > 3


def test_two_options_always_change_places() -> None:
    two = replace(
        QUESTION, options=("Yes", "No"), gold=("No",), prompts={"plain": choice_prompt("Ill?", ("Yes", "No"))}
    )
    for seed in range(5):
        moved = moved_options(two, seed=seed)
        assert moved.prompts == {"plain": choice_prompt("Ill?", ("No", "Yes"))}


def test_a_prompt_that_lists_its_options_otherwise_is_named() -> None:
    odd = replace(QUESTION, prompts={"plain": "Which? (a) Fovea (b) Optic disc"})
    with pytest.raises(DataError, match=r"DDR/1\.jpg: its prompt does not list its options"):
        moved_options(odd, seed=1)


def test_a_prompt_that_is_not_used_need_not_list_its_options() -> None:
    odd = replace(QUESTION, prompts={"E-mode3": E3, "E-mode2": "Which? (a) Fovea (b) Optic disc"})
    assert moved_options(odd, seed=1).options == moved_options(QUESTION, seed=1).options
    for form in FORMS[1:]:
        moved = moved_options(odd, seed=1, form=form, e_mode=2)
        said = words(moved, form=form, e_mode=2)
        assert said is not None
        assert said[1].splitlines()[1] == f"A. {moved.options[0]}"


def test_tokens_of_a_letter_add_up_and_one_that_is_missing_counts_as_nought() -> None:
    first = [(" B", math.log(0.5)), ("A", math.log(0.25)), ("B", math.log(0.125)), ("The", math.log(0.05))]
    found = letter_scores(first, ("x", "y", "z"))
    assert found == pytest.approx({"x": 0.25, "y": 0.625, "z": 0.0})


@pytest.mark.parametrize("first", [[], [("The", -0.1), ("A", -3.0)], [("Z", -0.1), ("A", -3.0)], [("", -0.1)]])
def test_a_reply_that_does_not_begin_with_a_letter_of_its_options_has_no_scores(first: list[tuple[str, float]]) -> None:
    assert letter_scores(first, ("x", "y")) is None
