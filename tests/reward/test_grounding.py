"""Grounding by hand-computed numbers."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reward.grounding import grounding, lesion_grounding

VOCABULARY = load_vocabulary()
ALL_NINE = tuple(VOCABULARY.findings)[:9]


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


@pytest.mark.parametrize(
    ("stated", "annotated", "value"),
    [
        (["drusen"], ["drusen"], 1.0),
        (["large_drusen", "hard_exudate"], ["drusen"], 1.0),  # a kind of it; other findings count for nothing
        (["hard_exudate"], ["drusen"], 0.0),
        (["drusen"], ["hard_exudate"], 0.0),
        ([], ["hard_exudate"], 1.0),
        ([], [], 1.0),
        (ALL_NINE, [], 0.0),  # naming everything pays only where the lesion is there
    ],
)
def test_about_one_lesion_only_that_lesion_counts(stated: list[str], annotated: list[str], value: float) -> None:
    part = lesion_grounding(stated, annotated, asked={"drusen", "large_drusen"}, vocabulary=VOCABULARY)
    assert part.value == value


def test_about_one_lesion_an_image_without_annotation_has_no_grounding() -> None:
    part = lesion_grounding(["drusen"], None, asked={"drusen"}, vocabulary=VOCABULARY)
    assert part.value is None
    assert part.reasons == ("grounding does not apply: no findings are annotated on this image",)
