"""What is searched for about a relation, and when a passage states it."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reasoning.passage import relation_query, states
from fundus_ray.types import Evidence

VOCABULARY = load_vocabulary()
DR = "diabetic retinopathy"


def passage(text: str, *, title: str = "") -> Evidence:
    return Evidence(
        passage_id="x", title=title, section="", text=text, source="", url="", licence="", score=1, rank=1, query=""
    )


@pytest.mark.parametrize(
    ("text", "title", "said"),
    [
        ("Microaneurysms are the earliest sign of diabetic retinopathy.", "", True),
        ("They are the earliest sign: MAs.", "Diabetic retinopathy", True),
        ("Microaneurysms are small.", "", False),
        ("In early diabetic retinopathy there are no microaneurysms.", "", False),
        ("Diabetic retinopathy threatens sight.", "", False),
    ],
)
def test_a_passage_states_a_relation_where_it_names_both_by_any_of_their_names(
    text: str, title: str, said: bool
) -> None:
    assert states(passage(text, title=title), finding="microaneurysm", label=DR, vocabulary=VOCABULARY) is said


def test_a_relation_is_searched_by_the_names_of_both() -> None:
    assert relation_query("cotton_wool_spot", DR, VOCABULARY) == "cotton wool spots diabetic retinopathy"
