"""Both stores answer the committed queries over the shipped corpus alike: same passages, order and scores."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fundus_ray.config import KnowledgeConfig
from fundus_ray.knowledge.elastic_client import Cluster
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.store import build_store

QUERIES = [
    row["query"]
    for row in yaml.safe_load((Path(__file__).parent / "retrieval_queries.yaml").read_text(encoding="utf-8"))["queries"]
]
AT_ONCE = 4  # a test server scans every document for every word
HYBRID_EVERY = 6  # hybrid search repeats the same BM25 half, which the other test sees whole
RELATIVE = 1e-6


@pytest.fixture(params=["", "minilm"], ids=["bm25", "hybrid"])
async def stores(
    request: pytest.FixtureRequest, on_server: KnowledgeConfig, tmp_path: Path
) -> AsyncIterator[tuple[Retriever, Retriever]]:
    here = await build_store(KnowledgeConfig(embeddings=request.param), folder=tmp_path)
    there = await build_store(replace(on_server, embeddings=request.param), folder=tmp_path)
    yield here, there
    await there.close()
    cluster = Cluster(on_server)
    await cluster.ask("cleaning up", lambda es: es.indices.delete(index=f"{on_server.index}-{here.snapshot}"))
    await cluster.close()


async def test_top_ten_order_and_scores_are_equal(
    stores: tuple[Retriever, Retriever], request: pytest.FixtureRequest
) -> None:
    here, there = stores
    assert here.snapshot == there.snapshot
    queries = QUERIES[::HYBRID_EVERY] if "hybrid" in request.node.name else QUERIES
    worst = 0.0
    for start in range(0, len(queries), AT_ONCE):
        batch = queries[start : start + AT_ONCE]
        ours, theirs = await here.search(batch, k=10), await there.search(batch, k=10)
        for query, one, other in zip(batch, ours, theirs, strict=True):
            assert one, query
            assert [replace(e, score=0) for e in one] == [replace(e, score=0) for e in other], query
            worst = max(worst, *(abs(a.score - b.score) / a.score for a, b in zip(one, other, strict=True)))
    print(f"{len(queries)} queries, largest relative difference of scores {worst:.1e}")
    assert worst < RELATIVE
    assert math.isfinite(worst)
