"""The store in a folder: scores by BM25, is built once and whole, takes any query."""

from __future__ import annotations

import asyncio
import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge.embedded import EmbeddedStore, build
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.retriever import Retriever, SearchError
from fundus_ray.knowledge.store import BuiltStore, build_store, open_store
from fundus_ray.knowledge.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return asyncio.run(build_store(KnowledgeConfig(), folder=tmp_path_factory.mktemp("knowledge")))


def passages(*texts: str) -> list[Passage]:
    return [Passage(f"p#{i}", "t", "", text, "s", "u", "l") for i, text in enumerate(texts)]


def opened(folder: Path, items: Sequence[Passage], *, vectors: NDArray[np.float32] | None = None) -> EmbeddedStore:
    """A store whose queries all embed as (1, 0)."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.array([1, 0], np.float32), (len(texts), 1))

    target = build(items, snapshot="feed", folder=folder, vectors=None if vectors is None else lambda: vectors)
    return EmbeddedStore.open(target, vocabulary=load_vocabulary(), encode=None if vectors is None else encode)


async def test_the_score_is_bm25(tmp_path: Path) -> None:
    store = opened(tmp_path, passages("zebra zebra lion", "zebra", "lion lion lion lion"))
    (found,) = await store.search(["zebras"], k=3)
    # Robertson and Zaragoza 2009 with k1 = 1.2, b = 0.75 and Lucene's idf: N = 3, n = 2, mean length 8 / 3.
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))

    def bm25(freq: int, length: int) -> float:
        return idf * freq * 2.2 / (freq + 1.2 * (0.25 + 0.75 * length / (8 / 3)))

    assert [e.passage_id for e in found] == ["p#1", "p#0"]
    assert [e.score for e in found] == pytest.approx([bm25(1, 1), bm25(2, 3)], rel=1e-6)


async def test_ties_are_ordered_by_id_also_at_the_cut(tmp_path: Path) -> None:
    store = opened(tmp_path, passages(*["zebra"] * 9))
    (found,) = await store.search(["zebra"], k=4)
    assert [(e.rank, e.passage_id) for e in found] == [(1, "p#0"), (2, "p#1"), (3, "p#2"), (4, "p#3")]


async def test_vectors_are_fused_by_rank(tmp_path: Path) -> None:
    vectors = np.array([[0, 1], [1, 0], [0.6, 0.8]], np.float32)
    store = opened(tmp_path, passages("zebra", "lion", "zebra crossing"), vectors=vectors)
    (found,) = await store.search(["zebra"], k=3)
    # BM25: p#0, p#2 (longer). Vectors: p#1, p#2, p#0.
    expected = {"p#0": 1 / 61 + 1 / 63, "p#2": 1 / 62 + 1 / 62, "p#1": 1 / 61}
    assert {e.passage_id: e.score for e in found} == pytest.approx(expected)
    assert [e.passage_id for e in found] == ["p#0", "p#2", "p#1"]


async def test_evidence_carries_its_provenance_and_query(shipped: Retriever) -> None:
    (found,) = await shipped.search(["hard exudates in diabetes"], k=4)
    assert [e.rank for e in found] == [1, 2, 3, 4]
    assert {e.query for e in found} == {"hard exudates in diabetes"}
    assert all(e.text and e.title and e.source and e.licence for e in found)


@pytest.mark.parametrize(
    ("query", "file"),
    [("CWS", "cotton_wool_spots"), ("soft exudates", "cotton_wool_spots"), ("left eye", "laterality")],
)
async def test_other_names_find_the_same_subject(shipped: Retriever, query: str, file: str) -> None:
    assert (await shipped.search([query], k=1))[0][0].passage_id.startswith(file + "#")


@pytest.mark.parametrize("query", ["", "   ", "?!", "\x00"])
async def test_a_query_without_words_finds_nothing(shipped: Retriever, query: str) -> None:
    assert await shipped.search([query, "drusen"], k=1) != [(), ()]
    assert (await shipped.search([query, "drusen"], k=1))[0] == ()


@pytest.mark.parametrize("query", ['title:"drusen', "drusen AND", "(drusen", "drusen^", "*:* OR -drusen"])
async def test_query_syntax_is_read_as_words(shipped: Retriever, query: str) -> None:
    assert "rusen" in (await shipped.search([query], k=1))[0][0].text


@settings(deadline=None, max_examples=30)
@given(query=st.text(max_size=80), k=st.integers(-1, 5))
def test_any_text_is_a_valid_query(shipped: Retriever, query: str, k: int) -> None:
    assert len(asyncio.run(shipped.search([query], k=k))[0]) <= max(k, 0)


async def test_building_twice_reuses_the_folder(tmp_path: Path) -> None:
    first = await build_store(KnowledgeConfig(), folder=tmp_path)
    touched = tmp_path.stat().st_mtime_ns
    second = await build_store(KnowledgeConfig(), folder=tmp_path)
    assert second.snapshot == first.snapshot
    assert tmp_path.stat().st_mtime_ns == touched
    assert [p.name for p in tmp_path.iterdir()] == [first.snapshot]


async def test_an_unfinished_folder_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "feed").mkdir()
    with pytest.raises(DataError, match="feed: no knowledge index here"):
        await open_store(KnowledgeConfig(), BuiltStore(folder=tmp_path, snapshot="feed"))


async def test_a_damaged_index_is_our_fault_and_says_so(tmp_path: Path) -> None:
    store = await build_store(KnowledgeConfig(), folder=tmp_path)
    (tmp_path / store.snapshot / "meta.json").write_text("{")
    with pytest.raises(SearchError, match="cannot be opened"):
        await open_store(KnowledgeConfig(), BuiltStore(folder=tmp_path, snapshot=store.snapshot))


def test_two_processes_build_and_read_one_folder_at_once(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from fundus_ray.config import KnowledgeConfig\n"
        "from fundus_ray.knowledge.store import build_store\n"
        "async def main():\n"
        "    store = await build_store(KnowledgeConfig(), folder=Path(sys.argv[1]))\n"
        "    found = await store.search(['drusen'], k=3)\n"
        "    print(store.snapshot, *(e.passage_id for e in found[0]))\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0].split() for process in running]
    assert len(outputs[0]) == 4
    assert outputs[0] == outputs[1]
    assert [p.name for p in tmp_path.iterdir()] == [outputs[0][0]]


def test_search_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SearchError("down")))
    assert isinstance(error, SearchError)
    assert str(error) == "down"
