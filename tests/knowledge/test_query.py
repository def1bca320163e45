"""A text becomes weighted clauses: its words, and the other names of what it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import MAX_WORDS, Clause, clauses, searched_fields, with_modality, words_of
from fundus_ray.knowledge.vocabulary import ABBREVIATIONS_FILE, Vocabulary, load_vocabulary, read_vocabulary
from fundus_ray.types import Modality

FINDINGS = "findings:\n- {id: cws, name: cotton wool spots, synonyms: [soft exudates, CWS]}\n"
LABELS = "labels:\n  diabetic retinopathy: [DR]\n"


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    (tmp_path / "findings.yaml").write_text(FINDINGS)
    (tmp_path / "labels.yaml").write_text(LABELS)
    return read_vocabulary(tmp_path / "findings.yaml", tmp_path / "labels.yaml", ABBREVIATIONS_FILE)


def test_words_and_what_abbreviations_stand_for_weigh_one_and_other_names_less(vocabulary: Vocabulary) -> None:
    found = clauses("Bright CWS, bright", vocabulary=vocabulary)
    sought: list[tuple[list[tuple[str, ...]], float]] = [
        ([("bright",), ("cws",), ("cotton", "wool", "spots")], 1.0),
        ([("soft", "exudates")], 0.3),
    ]
    expected = [
        Clause(field, words, weight * boost)
        for group, weight in sought
        for words in group
        for field, boost in (("heading_words", 1.0), ("text_words", 1.0))
    ]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_an_alias_of_a_label_brings_the_label(vocabulary: Vocabulary) -> None:
    assert ("diabetic", "retinopathy") in {clause.words for clause in clauses("DR?", vocabulary=vocabulary)}


def test_words_that_say_nothing_are_left_out_unless_they_are_all_there_is(vocabulary: Vocabulary) -> None:
    def words(text: str) -> set[tuple[str, ...]]:
        return {clause.words for clause in clauses(text, vocabulary=vocabulary)}

    assert words("what is in the bright spot") == {("bright",), ("spot",)}
    assert words("is it the") == {("is",), ("it",), ("the",)}
    assert words("swelling on disc") == {("swelling",), ("disc",)}
    assert words("ON") == {("on",), ("optic", "neuritis"), ("optic", "nerve")}


def test_an_abbreviation_is_read_as_written_and_in_the_plural(vocabulary: Vocabulary) -> None:
    assert ("microaneurysm",) in {clause.words for clause in clauses("MAs", vocabulary=vocabulary)}
    assert {clause.words for clause in clauses("ma", vocabulary=vocabulary)} == {("ma",)}


@pytest.mark.parametrize("text", ["", "  ", "?!", "\x00", "_", "x" * 1000])
def test_a_text_without_words_has_no_clauses(text: str) -> None:
    assert clauses(text, vocabulary=load_vocabulary()) == ()


@given(text=st.text())
def test_words_hold_letters_and_digits_only(text: str) -> None:
    assert all(word.isalnum() or not word.isascii() for word in words_of(text))
    assert all(" " not in word and word for word in words_of(text))


def test_a_long_text_is_cut() -> None:
    found = clauses(" ".join(f"w{i}" for i in range(50_000)), vocabulary=load_vocabulary())
    assert len({clause.words for clause in found}) == MAX_WORDS


def test_no_searched_field_is_ever_empty() -> None:
    passage = Passage(id="user/a#0", title="?", section="", text="Drusen, soft.", source="", url="", licence="")
    assert searched_fields(passage) == {"heading_words": "user a 0", "text_words": "drusen soft"}


def test_the_modality_joins_the_query() -> None:
    assert words_of(with_modality("drusen", Modality.OCT)) == ("drusen", "optical", "coherence", "tomography")
