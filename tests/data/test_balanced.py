"""The balanced order."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from fundus_ray.data.balanced import BalancedOrder
from fundus_ray.data.order import samples_in_order
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef, Modality, Sample

IMAGE = ImageRef("x.png", "0", 1, 1)


def sample(number: int, task: str, question: str, *answer: str) -> Sample:
    return Sample(f"s{number}", IMAGE, Modality.CFP, question, (), answer, task, "src", "train", f"p{number}")


def uneven() -> list[Sample]:
    """Two tasks; one of three questions, of which the last has answers 97 : 2 : 1."""
    kinds = [("side", "which eye?", "left")] * 30 + [("side", "which eye?", "right")] * 5
    kinds += [("sign", "drusen?", "yes")] * 3 + [("sign", "drusen?", "no")] * 11
    kinds += [("sign", "cup?", "yes")] * 4
    kinds += [("sign", "grade?", "none")] * 97 + [("sign", "grade?", "mild")] * 2 + [("sign", "grade?", "severe")]
    return [sample(i, *kind) for i, kind in enumerate(kinds)]


def test_tasks_then_questions_then_answers_come_equally_often() -> None:
    samples = uneven()
    at = samples_in_order(samples, order="balanced", seed=0)
    drawn = [at(position) for position in range(360)]
    assert Counter(one.task for one in drawn) == {"side": 180, "sign": 180}
    assert Counter(one.question for one in drawn if one.task == "sign") == {"drusen?": 60, "cup?": 60, "grade?": 60}
    answers = Counter((one.question, one.answer[0]) for one in drawn)
    assert [answers["which eye?", name] for name in ("left", "right")] == [90, 90]
    assert [answers["grade?", name] for name in ("none", "mild", "severe")] == [20, 20, 20]


def test_every_stretch_is_even_not_only_the_whole() -> None:
    at = samples_in_order(uneven(), order="balanced", seed=3)
    for start in range(0, 600, 2):
        assert {at(start).task, at(start + 1).task} == {"side", "sign"}


def test_samples_of_one_answer_each_come_once_before_any_comes_again() -> None:
    samples = uneven()
    at = samples_in_order(samples, order="balanced", seed=0)
    common = [one.id for one in map(at, range(2 * 3 * 3 * 97)) if one.question == "grade?" and one.answer == ("none",)]
    assert len(common) == 97 == len(set(common))


def test_access_at_random_gives_what_going_through_gives() -> None:
    samples = uneven()
    through = [BalancedOrder(samples, seed=5).row_at(position) for position in range(500)]
    again = BalancedOrder(samples, seed=5)
    for position in [499, 0, 33, 250, 7, 498, 33]:
        assert again.row_at(position) == through[position]


def test_seeds_and_rounds_have_orders_of_their_own() -> None:
    orders = [[BalancedOrder(uneven(), seed=seed).row_at(i) for i in range(60)] for seed in range(3)]
    assert all(one != other for one, other in combinations(orders, 2))
    first, second = ([uneven()[row].id for row in orders[0][start : start + 30]] for start in (0, 30))
    assert first != second


def test_several_right_answers_are_an_answer_of_their_own() -> None:
    samples = [sample(i, "t", "?", "a") for i in range(8)] + [sample(8, "t", "?", "a", "b"), sample(9, "t", "?", "b")]
    at = samples_in_order(samples, order="balanced", seed=0)
    assert Counter(at(i).answer for i in range(30)) == {("a",): 10, ("a", "b"): 10, ("b",): 10}


@pytest.mark.parametrize("order", ["balanced", "shuffled"])
def test_no_samples_is_an_error(order: str) -> None:
    with pytest.raises(DataError, match="no training samples"):
        samples_in_order([], order=order, seed=0)
