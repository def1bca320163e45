"""The snapshot id follows the content, all of it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fundus_ray.knowledge import snapshot
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.snapshot import snapshot_id

RECORDS = load_records()
A = Passage(id="a#0", title="t", section="s", text="x", source="o", url="u", licence="l")
B = replace(A, id="b#0")


def of(*passages: Passage, embeddings: str = "") -> str:
    return snapshot_id(passages, vocabulary=RECORDS.vocabulary, records=RECORDS, embeddings=embeddings)


def test_it_is_16_hex_digits_and_the_same_in_any_order() -> None:
    assert of(A, B) == of(B, A)
    assert len(of(A)) == 16
    assert int(of(A), 16) >= 0


@pytest.mark.parametrize("field", ["id", "title", "section", "text", "source", "url", "licence"])
def test_every_part_of_a_passage_counts(field: str) -> None:
    assert of(A) != of(replace(A, **{field: "other"}))


def test_the_embedding_model_counts() -> None:
    assert len({of(A), of(A, embeddings="1"), of(A, embeddings="2")}) == 3


def test_the_records_and_the_vocabulary_count() -> None:
    key, record = next(iter(RECORDS.by_key.items()))
    edited = replace(RECORDS, by_key={**RECORDS.by_key, key: replace(record, rule=record.rule + "!")})
    vocabulary = RECORDS.vocabulary
    label = next(iter(vocabulary.labels))
    wider = replace(vocabulary, labels={**vocabulary.labels, label: (*vocabulary.labels[label], "new alias")})
    ids = {
        of(A),
        snapshot_id([A], vocabulary=vocabulary, records=edited),
        snapshot_id([A], vocabulary=wider, records=RECORDS),
    }
    assert len(ids) == 3


def test_the_analysis_of_queries_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(A)
    monkeypatch.setitem(snapshot.ANALYSIS, "synonym_weight", 0.25)
    assert of(A) != before
