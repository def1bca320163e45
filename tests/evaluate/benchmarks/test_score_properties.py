"""What must hold of every score: it sees neither the order of questions nor that of options, and the best is 1."""

from __future__ import annotations

import random
from dataclasses import replace
from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark, Question, TaskFile
from fundus_ray.evaluate.benchmarks.score import Result, score

FILES = {
    "L1-modality_perception/L1b-fine_modality_perception.json": False,
    "L2-anatomy_perception/L2b-laterality.json": False,
    "L3-lesion_analysis/L3b-lesion_localization/L3b1-lesion_localization-Haemorrhage.json": True,
    "L4-disease_diagnosis/L4b-multi_condition_diagnosis.json": True,
}
TEXTS = ("drusen", "fluid", "naevus", "scar", "hole", "tear")


@st.composite
def asked(draw: st.DrawFn) -> list[tuple[Question, tuple[str, ...]]]:
    """Questions with the options that their answers choose."""
    made = []
    for file, several in FILES.items():
        for i in range(draw(st.integers(1, 8))):
            options = tuple(draw(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=5, unique=True)))
            subset = st.lists(st.sampled_from(options), min_size=1, max_size=3 if several else 1, unique=True)
            gold, said = tuple(draw(subset)), tuple(draw(subset))
            made.append((Question(file, f"{i}.jpg", f"{i}.jpg", f"{i // 2}", "?", options, gold, several, {}), said))
    return made


def letters(question: Question, chosen: tuple[str, ...]) -> str:
    return ",".join(ascii_uppercase[question.options.index(text)] for text in chosen)


def scored(pairs: list[tuple[Question, tuple[str, ...]]], *, compat: bool = False) -> Result:
    files = tuple(TaskFile(file, tuple(q for q, _ in pairs if q.file == file)) for file in FILES)
    answers = {file: {q.key: Answer(letters(q, said)) for q, said in pairs if q.file == file} for file in FILES}
    return score(Benchmark("funbench", files), answers, nearest=None, compat=compat)


def same(a: Result, b: Result) -> bool:
    return a.scores == pytest.approx(b.scores, nan_ok=True, abs=1e-12)


@settings(max_examples=5, deadline=None)
@given(asked(), st.randoms(use_true_random=False))
def test_order_of_questions_does_not_matter(
    pairs: list[tuple[Question, tuple[str, ...]]], shuffle: random.Random
) -> None:
    before = scored(pairs)
    shuffle.shuffle(pairs)
    after = scored(pairs)
    assert same(before, after)
    assert before.intervals == after.intervals


@settings(max_examples=5, deadline=None)
@given(asked(), st.randoms(use_true_random=False))
def test_order_of_options_does_not_matter(
    pairs: list[tuple[Question, tuple[str, ...]]], shuffle: random.Random
) -> None:
    turned = [(replace(q, options=tuple(shuffle.sample(q.options, len(q.options)))), said) for q, said in pairs]
    assert same(scored(pairs), scored(turned))


@settings(max_examples=5, deadline=None)
@given(asked())
def test_perfect_answers_score_one_wherever_there_is_a_score(pairs: list[tuple[Question, tuple[str, ...]]]) -> None:
    perfect = scored([(question, question.gold) for question, _ in pairs])
    assert {value for value in perfect.scores.values() if value == value} <= {1.0}
    assert all(verdict.correct for verdict in perfect.verdicts)


@settings(max_examples=5, deadline=None)
@given(asked())
def test_scores_are_shares_and_compat_differs_only_where_something_is_undefined(
    pairs: list[tuple[Question, tuple[str, ...]]],
) -> None:
    guarded, published = scored(pairs), scored(pairs, compat=True)
    assert all(0 <= value <= 1 for value in guarded.scores.values() if value == value)
    for name, value in published.scores.items():
        assert value != value or value == pytest.approx(guarded.scores[name], abs=1e-12)
