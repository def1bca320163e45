"""Controls beside the score: numbers worked out by hand."""

from __future__ import annotations

import pytest

from fundus_ray.evaluate.benchmarks.controls import control, over_orders
from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark, Question, TaskFile
from fundus_ray.evaluate.benchmarks.score import Result, score

FILE = "QA_information/x.json"


def result(*said: str, without: int | None = None) -> Result:
    """Four questions with the right answer b, answered by text; `without` leaves one out."""
    questions = [
        Question(FILE, str(i), f"{i}.png", f"{i}.png", "?", ("a", "b"), ("b",), False, {}, {"modality_type": "OCT"})
        for i in range(len(said))
    ]
    kept = tuple(question for i, question in enumerate(questions) if i != without)
    answers = {FILE: {str(i): Answer(text) for i, text in enumerate(said)}}
    return score(Benchmark("omnimedvqa", (TaskFile(FILE, kept),)), answers, nearest=None)


def test_control_counts_what_is_chosen_alike_and_what_is_right_on_one_side_only() -> None:
    asked, other = result("b", "b", "a", "a"), result("a", "b", "b", "a")
    found = control("no image", asked, other)
    assert (found.questions, found.same) == (4, 0.5)
    assert found.scores == {("overall", ""): 0.5, ("levels", "OCT"): 0.5}
    assert (found.paired.only_ours, found.paired.only_theirs) == (1, 1)


def test_questions_that_were_not_asked_in_both_are_not_compared() -> None:
    found = control("no image", result("b", "b", "a", "a"), result("b", "a", "a", "a", without=1))
    assert (found.questions, found.same) == (3, 1.0)


def test_orders_are_compared_with_the_benchmarks_own_and_each_other() -> None:
    # Right: 2 of 4, 3 of 4, 1 of 4. Questions 0 and 3 are answered alike in all.
    found = over_orders(result("b", "b", "a", "a"), [result("b", "b", "b", "a"), result("b", "a", "a", "a")])
    assert (found.number, found.lowest, found.highest) == (3, 0.25, 0.75)
    assert found.same_in_all == pytest.approx(2 / 4)


def test_answers_that_choose_nothing_are_the_same_choice() -> None:
    assert control("grey image", result("?", "b"), result("who knows", "b")).same == 1.0
