"""Prompts are short, lettered, and give nothing away."""

from __future__ import annotations

import dataclasses

import pytest

from fundus_ray.errors import DataError
from fundus_ray.reasoning.prompt import ask, build_prompt, letter
from fundus_ray.types import ImageRef, Modality, Sample

SAMPLE = Sample(
    id="s1",
    image=ImageRef(path="x.png", sha256="0", width_px=112, height_px=112),
    modality=Modality.CFP,
    question="Which disease does this image show?",
    options=("normal", "glaucoma"),
    answer=("glaucoma",),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p1",
)


def test_prompt_lists_question_options_and_form_a_line_each() -> None:
    prompt = build_prompt(SAMPLE, group_id=3, seed=40)
    assert prompt.user.split("\n") == [
        "Which disease does this image show?",
        "A. normal",
        "B. glaucoma",
        "Reply as <think>Findings: ... Conclusion: ...</think><answer>letter</answer>",
    ]
    assert prompt.system == "You are an ophthalmologist reading a colour fundus photograph."
    assert (prompt.group_id, prompt.seed, prompt.sample) == (3, 40, SAMPLE)


def test_the_right_answer_does_not_change_the_prompt() -> None:
    several = dataclasses.replace(SAMPLE, answer=("normal", "glaucoma"), findings=("drusen",))
    a, b = (build_prompt(s, group_id=0, seed=0) for s in (SAMPLE, several))
    assert (a.system, a.user) == (b.system, b.user)


def test_a_question_without_options_asks_for_free_text() -> None:
    prompt = build_prompt(dataclasses.replace(SAMPLE, options=()), group_id=0, seed=0)
    assert prompt.user.endswith("</think><answer>answer</answer>")
    assert "A." not in prompt.user


def test_the_system_line_names_the_modality() -> None:
    prompt = build_prompt(dataclasses.replace(SAMPLE, modality=Modality.OCT), group_id=0, seed=0)
    assert "OCT" in prompt.system


def test_letters_end_at_z() -> None:
    assert letter(0) + letter(25) == "AZ"
    for i in (-1, 26):
        with pytest.raises(IndexError):
            letter(i)


def test_more_options_than_letters_are_refused_by_name_of_the_sample() -> None:
    crowded = dataclasses.replace(SAMPLE, options=tuple(f"option {i}" for i in range(27)))
    with pytest.raises(DataError, match="sample s1: 27 options"):
        build_prompt(crowded, group_id=0, seed=0)


@pytest.mark.parametrize("task", ["L1a", "L1b"])
def test_a_question_for_the_modality_is_not_told_it(task: str) -> None:
    prompt = build_prompt(dataclasses.replace(SAMPLE, task=task, modality=Modality.OCT), group_id=0, seed=0)
    assert prompt.system == "You are an ophthalmologist reading an image."


@pytest.mark.parametrize(("task", "asked"), [("L4b", "letters, with commas"), ("L4c", "letter")])
def test_tasks_with_several_right_options_ask_for_letters_also_where_one_is_right(task: str, asked: str) -> None:
    prompt = build_prompt(dataclasses.replace(SAMPLE, task=task), group_id=0, seed=0)
    assert prompt.user.endswith(f"<answer>{asked}</answer>")


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("think-after", "Reply as <answer>letter</answer><think>Findings: ... Conclusion: ...</think>"),
        ("direct", "Reply with the letter alone."),
    ],
)
def test_other_forms_differ_in_the_last_line_only(form: str, last: str) -> None:
    usual = build_prompt(SAMPLE, group_id=0, seed=0).user.split("\n")
    assert ask(SAMPLE.question, SAMPLE.options, several=False, form=form).split("\n") == [*usual[:-1], last]
