"""Answers are read as letters or option texts, and not guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_ray.reasoning.answer import choose

OPTIONS = ("normal", "glaucoma", "macular degeneration, dry")


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        " B ",
        "(B)",
        "B.",
        "B)",
        "B:",
        "(B).",
        "glaucoma",
        "Glaucoma.",
        "B. glaucoma",
        "(B) Glaucoma",
        "B: glaucoma.",
    ],
)
def test_one_option_in_every_writing(text: str) -> None:
    assert choose(text, OPTIONS) == ("glaucoma",)


@pytest.mark.parametrize(
    "text",
    [
        *("A,B", "B,A", "a, b", "(A), (B)", "A,B,A", "A. normal, B. glaucoma", "normal, B"),
        *("A and B", "B and A", "a AND b", "A, and B", "(A) and (B)", "A. & B.", "A & B"),
        *("A;B", "B; A", "A/B", "A / B"),
    ],
)
def test_several_options_come_in_the_options_order(text: str) -> None:
    assert choose(text, OPTIONS) == ("normal", "glaucoma")


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "  ", "D", "A,D", "A. glaucoma", "B glaucoma", "AB", "glau", "A or B", "B, maybe", "A,", "?", "é"),
        *(
            "A and D",
            "A/D",
            "A and",
            "and",
            "AandB",
            "A and and B",
            "A;;B",
            "A; glaucoma",
            "normal and glaucoma",
            "A + B",
        ),
    ],
)
def test_what_is_unclear_or_out_of_range_is_none(text: str | None) -> None:
    assert choose(text, OPTIONS) is None


def test_an_option_with_a_comma_is_read_whole() -> None:
    assert choose("Macular degeneration, dry", OPTIONS) == (OPTIONS[2],)
    assert choose("C. macular  degeneration, dry", OPTIONS) == (OPTIONS[2],)


def test_all_of_three_letters_are_read_and_an_option_with_a_joint_is_read_whole() -> None:
    assert choose("A, B, and C", OPTIONS) == OPTIONS
    assert choose("A/B", ("A/B", "c")) == ("A/B",)


def test_a_letter_is_a_letter_even_where_an_option_is_called_so() -> None:
    assert choose("A", ("B", "A")) == ("B",)


def test_without_options_the_text_is_the_answer() -> None:
    assert choose("  dry  AMD ", ()) == ("dry AMD",)
    assert choose("  ", ()) is None


@given(text=st.text(), options=st.lists(st.text(min_size=1), max_size=6, unique=True))
def test_no_text_raises_and_only_options_are_chosen(text: str, options: list[str]) -> None:
    chosen = choose(text, options)
    assert chosen is None or not options or set(chosen) <= set(options)
