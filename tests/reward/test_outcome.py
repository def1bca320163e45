"""Accuracy is all or nothing."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.outcome import accuracy, problems_of_form, well_formed


@pytest.mark.parametrize(
    ("chosen", "right", "value"),
    [
        (("a",), ("a",), 1.0),
        (("b",), ("a",), 0.0),
        (("a", "b"), ("b", "a"), 1.0),
        (("a",), ("a", "b"), 0.0),
        (("a", "b", "c"), ("a", "b"), 0.0),
        (("Dry  AMD",), ("dry amd",), 1.0),
        (None, ("a",), 0.0),
    ],
)
def test_exactly_the_right_options_are_right(
    chosen: tuple[str, ...] | None, right: tuple[str, ...], value: float
) -> None:
    assert accuracy(chosen, right) == value


def test_form_is_paid_only_whole() -> None:
    good = "<think>Findings: none. Conclusion: normal.</think><answer>A</answer>"
    assert well_formed(read_chain(good, load_vocabulary())) == 1.0
    assert well_formed(read_chain(good + "!", load_vocabulary())) == 0.0


def test_format_names_what_is_wrong_with_the_form_alone() -> None:
    both = "<think>Findings: drusen. No drusen. Conclusion: normal.</think><answer>A</answer>"
    assert "both asserted and denied: drusen" in read_chain(both, load_vocabulary()).problems
    assert problems_of_form(read_chain(both, load_vocabulary())) == ()
    assert problems_of_form(read_chain(both + "!", load_vocabulary())) == ("text after </answer>",)
