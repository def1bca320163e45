"""The reader against sentences that a person has read. `pytest -s` on this file prints the tables."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fundus_ray.knowledge.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()
FLOOR = 0.95  # of precision and of recall, for each of WHAT and each part
SCRIPT = Path(__file__).parents[2] / "scripts" / "chain_reading_quality.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chain_reading_quality", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


quality = _script()
WHAT, PARTS = quality.WHAT, quality.PARTS


@cache
def compared(part: str) -> Any:
    return quality.compare(part, VOCABULARY)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("what", WHAT)
def test_what_a_person_reads_is_read(part: str, what: str) -> None:
    tally = compared(part).by_what[what]
    assert tally.precision >= FLOOR
    assert tally.recall >= FLOOR


@pytest.mark.parametrize("part", PARTS)
def test_table_names_every_sort_and_kind(part: str) -> None:
    text = quality.table(part, compared(part))
    print("\n" + text)
    assert {*WHAT, *(kind for kind, _ in quality.rows(part))} <= {line.split(" ")[0] for line in text.splitlines()}


def test_there_are_enough_sentences() -> None:
    counts = {part: sum(1 for _ in quality.rows(part)) for part in PARTS}
    assert sum(counts.values()) >= 300
    assert counts["held_back"] >= 120


@pytest.mark.parametrize("part", PARTS)
def test_every_word_and_id_of_the_truth_exists(part: str) -> None:
    for _, row in quality.rows(part):
        facts = quality.truth_of(row)
        findings = {fact[0] for what in WHAT[:4] for fact in facts[what]}
        assert findings <= set(VOCABULARY.findings), row["text"]
        assert {fact[1] for fact in facts["relations"]} <= set(VOCABULARY.labels), row["text"]


def test_no_sentence_stands_in_both_parts() -> None:
    texts = [row["text"] for part in PARTS for _, row in quality.rows(part)]
    assert len(set(texts)) == len(texts)


def test_a_tally_by_hand() -> None:
    tally = quality.Tally()
    tally.add({(1,), (2,), (3,)}, {(2,), (3,), (4,), (5,)})
    assert (tally.right, tally.wrong, tally.missed) == (2, 2, 1)
    assert tally.precision == pytest.approx(2 / 4)
    assert tally.recall == pytest.approx(2 / 3)


def test_the_second_place_of_words_is_found() -> None:
    assert quality.place("drusen, no drusen", "drusen") == (0, 6)
    assert quality.place("drusen, no drusen", "drusen #2") == (11, 17)
