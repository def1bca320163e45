"""What the records say, the shipped passages state where a search finds it, so that traces can cite it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fundus_ray.config import Config, KnowledgeConfig
from fundus_ray.knowledge.ingest import PASSAGES_DIR, ingest
from fundus_ray.knowledge.records import Record, load_records
from fundus_ray.knowledge.store import build_store
from fundus_ray.reasoning.passage import relation_query, states
from fundus_ray.types import Modality

RECORDS = load_records()
# Shares of relations that are stated; raise them with the measured figures, never lower them.
DECISIVE_FLOOR, SUPPORTIVE_FLOOR = 0.98, 0.97


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """(finding, label) of every record's relations that one of the first passages found for it states."""
    pairs = sorted({(f, record.label) for record in RECORDS.by_key.values() for f in record.in_favour})
    return asyncio.run(stated_among(pairs, folder=tmp_path_factory.mktemp("store")))


async def stated_among(pairs: Sequence[tuple[str, str]], *, folder: Path) -> set[tuple[str, str]]:
    vocabulary = RECORDS.vocabulary
    store = await build_store(KnowledgeConfig(), folder=folder)
    queries = [relation_query(finding, label, vocabulary) for finding, label in pairs]
    found = await store.search(queries, k=Config().traces.passages)
    await store.close()
    return {
        (finding, label)
        for (finding, label), passages in zip(pairs, found, strict=True)
        if any(states(p, finding=finding, label=label, vocabulary=vocabulary) for p in passages)
    }


def share(records: Sequence[Record], stated: set[tuple[str, str]], *, decisive: bool) -> float:
    relations = [(f, r.label) for r in records for f in (r.decisive if decisive else r.supportive)]
    return sum(relation in stated for relation in relations) / len(relations)


@pytest.mark.parametrize("modality", Modality, ids=lambda m: m.value)
def test_nearly_every_relation_of_the_records_is_stated_by_a_passage_that_is_found(
    stated: set[tuple[str, str]], modality: Modality
) -> None:
    records = [record for record in RECORDS.by_key.values() if record.modality is modality]
    assert share(records, stated, decisive=True) >= DECISIVE_FLOOR
    assert share(records, stated, decisive=False) >= SUPPORTIVE_FLOOR


@pytest.mark.parametrize("key", RECORDS.by_key, ids=lambda key: f"{key[0]}-{key[1].value}")
def test_each_label_has_a_cited_way_to_it(key: tuple[str, Modality], stated: set[tuple[str, str]]) -> None:
    """Without one, every trace of the label would be rejected as uncited."""
    record = RECORDS.by_key[key]
    assert all((f, record.label) in stated for f in record.required)
    assert all(any((f, record.label) in stated for f in group) for group in record.any_of)


def test_no_shipped_section_is_split_so_passages_keep_their_ids() -> None:
    sections = sum(len(re.findall(r"^## ", file.read_text(), re.MULTILINE)) for file in PASSAGES_DIR.glob("*.md"))
    assert len(ingest(KnowledgeConfig()).passages) == sections
