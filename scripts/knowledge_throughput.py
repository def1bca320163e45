"""How many queries a second the knowledge store answers, as one table: in this process and over HTTP, one at a time and
64 at once, and through the rubric's cache.

    python scripts/knowledge_throughput.py [--url http://HOST:9200] [--queries FILE] [--seconds 3] [--embeddings minilm]

Without --url the HTTP rows are measured on the server that the tests use (package noida-db), which scans every document
for every word: they bound the client's own cost from above and say nothing of a real cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from search_server import Server

from fundus_ray.config import KnowledgeConfig
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.store import build_store
from fundus_ray.reward.evidence import EvidenceSearch

QUERIES = Path(__file__).parents[1] / "tests" / "knowledge" / "retrieval_queries.yaml"
BATCH, TOP_K = 64, 2
PATIENCE_S = 300.0  # the test server's answer to a whole batch

Ask = Callable[[Sequence[str]], Awaitable[object]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an Elasticsearch cluster without security; default: a test server is started")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="YAML with a list `queries` of `query`")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--embeddings", default="", help="as knowledge.embeddings")
    args = parser.parse_args()
    queries = [row["query"] for row in yaml.safe_load(args.queries.read_text(encoding="utf-8"))["queries"]]
    with tempfile.TemporaryDirectory() as folder, server(args.url, Path(folder)) as url:
        rows = asyncio.run(measure(queries, url=url, embeddings=args.embeddings, seconds=args.seconds))
    print(f"{len(queries)} different queries, top {TOP_K}; queries/s")
    print(f"{'store':<16}{'one at a time':>15}{f'{BATCH} at once':>15}{'cached':>15}")
    for name, rates in rows:
        print(f"{name:<16}" + "".join(f"{rate:>15.3g}" for rate in rates))


async def measure(
    queries: list[str], *, url: str, embeddings: str, seconds: float
) -> list[tuple[str, tuple[float, float, float]]]:
    """(store, rates single, batched, cached)."""
    there = KnowledgeConfig(
        store="elasticsearch", url=url, index="fundus-ray-throughput", timeout_s=PATIENCE_S, embeddings=embeddings
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, config in (("embedded", KnowledgeConfig(embeddings=embeddings)), ("elasticsearch", there)):
            store = await build_store(config, folder=Path(folder))
            rows.append((name, await rates(store, queries, seconds=seconds)))
            await store.close()
    return rows


async def rates(store: Retriever, queries: list[str], *, seconds: float) -> tuple[float, float, float]:
    """Queries a second: single, batched, and batched through a cache that holds them all."""

    async def search(batch: Sequence[str]) -> object:
        return await store.search(batch, k=TOP_K)

    cached = EvidenceSearch(store, top_k=TOP_K)
    some = queries[:BATCH]
    await cached.search(some)
    return (
        await rate(search, queries, size=1, seconds=seconds),
        await rate(search, queries, size=BATCH, seconds=seconds),
        await rate(cached.search, some, size=BATCH, seconds=seconds),
    )


async def rate(ask: Ask, queries: list[str], *, size: int, seconds: float) -> float:
    """Queries a second in batches of `size`, for at least `seconds` and one batch."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = done % len(queries)
        batch = (queries[start:] + queries)[:size]
        await ask(batch)
        done += len(batch)
    return done / (time.perf_counter() - began)


@contextmanager
def server(url: str | None, folder: Path) -> Iterator[str]:
    """The address given, or that of a test server that lives as long as the body."""
    if url:
        yield url
        return
    own = Server(folder)
    try:
        own.wait()
        yield own.url
    finally:
        own.stop()


if __name__ == "__main__":
    main()
