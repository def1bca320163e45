"""How many queries a second the knowledge store answers, as one table in Markdown: in this process and over HTTP, one
at a time and 64 at once, and through the rubric's cache.

    python scripts/knowledge_throughput.py [--url http://HOST:9200] [--queries FILE] [--seconds 3] [--embeddings minilm]

Without --url the HTTP rows are measured on the server that the tests use (package noida-db), which scans every document
for every word: they bound the client's own cost from above and say nothing of a real cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
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
    asked = args.url or "the tests' server"
    print(table(rows, queries=len(queries), server=asked, embeddings=args.embeddings, seconds=args.seconds))


def table(
    rows: Sequence[tuple[str, tuple[float, float, float]]],
    *,
    queries: int,
    server: str,
    embeddings: str,
    seconds: float,
) -> str:
    """Markdown: what was measured and on what, then a row a store with queries a second."""
    search = f"hybrid search ({embeddings})" if embeddings else "BM25"
    lines = [
        f"{queries} different queries, top {TOP_K}, {search}, HTTP to {server}, at least {seconds:g} s a figure; "
        f"{machine()}",
        "",
        f"| queries/s | single | batched ({BATCH}) | cached ({BATCH}) |",
        "| --- | --: | --: | --: |",
    ]
    lines += [f"| {name} | " + " | ".join(_figure(rate) for rate in rates) + " |" for name, rates in rows]
    return "\n".join(lines)


def machine() -> str:
    """CPUs that this process may use, their model, and how busy they are with everything together."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(info) if line.startswith("model name")]
    model = f" ({names[0]})" if names else ""
    return f"{len(os.sched_getaffinity(0))} CPUs{model}, load {os.getloadavg()[0]:.1f}"


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


def _figure(rate: float) -> str:
    """Three digits that mean something."""
    return f"{float(f'{rate:.3g}'):,g}" if rate < 1e6 else f"{rate:.2e}"


async def measure(
    queries: list[str], *, url: str, embeddings: str, seconds: float
) -> list[tuple[str, tuple[float, float, float]]]:
    """(store, rates single, batched, cached)."""
    there = KnowledgeConfig(
        store="elasticsearch", url=url, index="fundus-ray-throughput", timeout_s=PATIENCE_S, embeddings=embeddings
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, config in (("embedded", KnowledgeConfig(embeddings=embeddings)), ("HTTP", there)):
            store = await build_store(config, folder=Path(folder))
            try:
                rows.append((name, await rates(store, queries, seconds=seconds)))
            finally:
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
