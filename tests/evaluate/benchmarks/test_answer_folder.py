"""Answers that are kept: what a second call finds again, and what it does not take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.evaluate.benchmarks.answer_folder import AnswerFolder, about, mark
from fundus_ray.evaluate.benchmarks.predictions import read_predictions
from fundus_ray.evaluate.benchmarks.question import Answer, Benchmark, Question, TaskFile

FILE = "L4-disease_diagnosis/L4c-dr_grading.json"
ASKED = {(FILE, f"DDR/{i}.jpg"): about("system", f"question {i}") for i in range(3)}
NAMES = list(ASKED)


def folder_of(path: Path, *answers: tuple[int, Answer], asked: dict[tuple[str, str], str] = ASKED) -> AnswerFolder:
    folder = AnswerFolder(path, asked=asked)
    for i, answer in answers:
        folder.add(NAMES[i], answer, complete=i != 1)
    return folder


def test_answers_are_found_again_in_the_questions_order(tmp_path: Path) -> None:
    first = folder_of(tmp_path, (1, Answer("B")), (0, Answer("A", {"x": 0.25, "y": 0.5})))
    assert list(first.missing()) == [NAMES[2]]
    again = folder_of(tmp_path)
    assert again.answers == {FILE: {"DDR/0.jpg": Answer("A", {"x": 0.25, "y": 0.5}), "DDR/1.jpg": Answer("B")}}
    assert (list(again.missing()), again.cut_off) == ([NAMES[2]], 1)


def test_the_tree_is_what_stored_answers_are_read_from(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, (0, Answer("<think>\n</think> A", {"x": 0.25})), (2, Answer("B")))
    folder.export()
    questions = tuple(Question(FILE, key, key, key, "?", ("x",), ("x",), False, {}) for _, key in NAMES)
    benchmark = Benchmark("funbench", (TaskFile(FILE, questions),))
    assert read_predictions(tmp_path / "answers", benchmark) == folder.answers


def test_a_line_that_a_crash_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    folder_of(tmp_path, (0, Answer("A")), (1, Answer("B"))).close()
    lines = tmp_path / "answers.jsonl"
    lines.write_text(lines.read_text()[:-9])
    again = folder_of(tmp_path, (1, Answer("C")))
    assert again.answers == {FILE: {"DDR/0.jpg": Answer("A"), "DDR/1.jpg": Answer("C")}}
    assert [json.loads(line)["answer"] for line in lines.read_text().splitlines()] == ["A", "C"]


def test_an_answer_to_other_words_is_asked_for_again(tmp_path: Path) -> None:
    folder_of(tmp_path, (0, Answer("A")), (1, Answer("B"))).close()
    changed = {**ASKED, NAMES[0]: about("system", "another question")}
    again = folder_of(tmp_path, asked=changed)
    assert again.answers == {FILE: {"DDR/1.jpg": Answer("B")}}
    assert list(again.missing()) == [NAMES[0], NAMES[2]]


def test_answers_to_questions_that_are_not_asked_now_stay_in_the_file(tmp_path: Path) -> None:
    folder_of(tmp_path, (0, Answer("A")), (1, Answer("B"))).close()
    fewer = folder_of(tmp_path, asked={NAMES[1]: ASKED[NAMES[1]]})
    assert fewer.answers == {FILE: {"DDR/1.jpg": Answer("B")}}
    fewer.close()
    assert folder_of(tmp_path).answers == {FILE: {"DDR/0.jpg": Answer("A"), "DDR/1.jpg": Answer("B")}}


def test_answers_of_another_model_are_refused_but_settings_may_change_before_the_first_answer(tmp_path: Path) -> None:
    mark(tmp_path, {"model": "a", "prompt": "think"})
    mark(tmp_path, {"model": "b", "prompt": "think"})
    folder_of(tmp_path / "controls" / "order-1", (0, Answer("A"))).close()
    with pytest.raises(ConfigError, match="answers made with prompt='think', not 'direct'; take another --out"):
        mark(tmp_path, {"model": "b", "prompt": "direct"})
    mark(tmp_path, {"model": "b", "prompt": "think"})


def test_a_line_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"file": "x"}\n')
    with pytest.raises(DataError, match=r"answers\.jsonl: a line without 'key'"):
        folder_of(tmp_path)
