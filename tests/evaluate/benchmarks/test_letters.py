"""Which options an answer's text chooses."""

from __future__ import annotations

import pytest

from fundus_ray.errors import ConfigError
from fundus_ray.evaluate.benchmarks.letters import read_choice, read_funbench, unwrap
from fundus_ray.evaluate.benchmarks.nearest import NearestOption

LESIONS = ("Hard exudate", "Soft exudate", "Haemorrhage", "Retinal tear and break", "No abnormality")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("C", 2),
        ("(C)", 2),
        (" C \n", None),  # the newline becomes a comma first, and a single answer is not split at commas
        ("C.", 2),
        ("C. Haemorrhage", 2),
        ("C) Haemorrhage", 2),  # by its text
        ("c", None),
        ("Haemorrhage", 2),
        ("I see a HAEMORRHAGE here.", 2),
        ("Hard exudate or soft exudate", None),  # two texts
        ("A, C", None),
        ("Retinal tear and break", 3),  # torn at "and", but nearest to itself
        ("F", None),  # out of range
        ("Z. something", None),
        ("", None),
    ],
)
def test_single_answer_is_read_by_the_published_rules(text: str, place: int | None) -> None:
    assert read_funbench(text, LESIONS, several=False, nearest=None).chosen == (() if place is None else (place,))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("A,C", (0, 2)),
        ("A, C.", (0, 2)),
        ("A and C", (0, 2)),
        ("C\nA", (2, 0)),
        ("(A, C)", (0, 2)),
        ("(A), (C)", ()),  # inner brackets stay: "A)" and "(C" are no letters
        ("A, A", (0,)),
        ("Hard exudate, a large haemorrhage", (0, 2)),
        ("B, nothing else", (1,)),
        ("A, F", (0,)),
        ("The image is unclear", ()),
        ("", ()),
    ],
)
def test_several_answers_are_split_at_commas_and(text: str, places: tuple[int, ...]) -> None:
    assert read_funbench(text, LESIONS, several=True, nearest=None).chosen == places


def test_and_inside_a_word_splits_it_too_as_published() -> None:
    options = ("Islands of fibrosis", "Drusen")
    assert read_funbench("Islands of fibrosis, Drusen", options, several=True, nearest=None).chosen == (1,)


def test_no_is_found_inside_other_words_as_published() -> None:
    assert read_funbench("It looks normal", ("Yes", "No"), several=False, nearest=None).chosen == (1,)


@pytest.mark.parametrize(("text", "several"), [("", False), ("F", False), ("A,F", True)])
def test_texts_on_which_the_published_scorer_ends_are_told(text: str, several: bool) -> None:
    assert read_funbench(text, LESIONS, several=several, nearest=None).stops_published
    assert not read_funbench("A", LESIONS, several=several, nearest=None).stops_published


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<think>A or B?</think><answer> B </answer>", "B"),
        ("<answer>A</answer> wait <answer>C</answer>", "C"),
        ("<think>A</think> D", "D"),
        ("<think>A</think><answer>B", "B"),
        ("<think>It is A because", ""),
        ("<Answer>B</Answer>", "B"),
        ("A. text", "A. text"),
    ],
)
def test_tags_are_taken_off(text: str, inside: str) -> None:
    assert unwrap(text) == inside


@pytest.mark.parametrize(
    ("text", "place"), [("b", 1), ("(B)", 1), ("B) Soft exudate", 1), ("surely a haemorrhage", 2), ("A, C", None)]
)
def test_choice_is_read_as_in_training_and_else_by_the_rules(text: str, place: int | None) -> None:
    assert read_choice(text, LESIONS, nearest=None).chosen == (() if place is None else (place,))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("The answer is B.", 1),
        ("**B**: there are cotton-wool spots", 1),
        ("Answer: (D)", 3),
        ("Option A is right", 0),
        ("A haemorrhage", 2),  # the article
        ("A small bleed", None),
        ("The answer is B, not C", None),
        ("The answer is F.", None),  # out of range
        ("The answer is B, not a haemorrhage", 1),
    ],
)
def test_one_letter_among_the_words_of_a_choice_is_read(text: str, place: int | None) -> None:
    assert read_choice(text, LESIONS, nearest=None).chosen == (() if place is None else (place,))
    if text.startswith("The answer is B."):
        assert read_funbench(text, LESIONS, several=False, nearest=None).chosen == ()  # not FunBench's rule


@pytest.fixture(scope="module")
def minilm() -> NearestOption:
    return NearestOption("minilm")


def test_what_no_rule_reads_goes_to_the_nearest_option(minilm: NearestOption) -> None:
    options = ("Painting", "Fundus image", "Whole-slide image")
    reading = read_funbench("a photograph of the back of the eye", options, several=False, nearest=minilm)
    assert (reading.chosen, reading.rule) == ((1,), "nearest by similarity")
    assert read_funbench("oil on canvas, by Monet", options, several=True, nearest=minilm).chosen == (0,)


def test_yes_and_no_are_compared_by_what_they_stand_for(minilm: NearestOption) -> None:
    meanings = ("No Haemorrhage", "Haemorrhage")
    text = "There is a retinal bleed"
    reading = read_funbench(text, ("No", "Yes"), several=False, nearest=minilm, meanings=meanings)
    assert reading.chosen == (1,)


def test_letter_out_of_range_is_never_guessed(minilm: NearestOption) -> None:
    assert read_funbench("F", LESIONS, several=False, nearest=minilm).chosen == ()


def test_folder_without_a_model_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--sentence-model no/such"):
        NearestOption("no/such")
