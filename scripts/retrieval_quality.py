#!/usr/bin/env python
"""Retrieval quality of the shipped corpus on the committed queries: one table, by kind of query and overall.

    python scripts/retrieval_quality.py [--queries FILE] [--misses] [--without-embeddings]

Three ways of searching are compared: BM25 on the query's words alone, BM25 with the vocabulary's synonyms, and the
fusion of the latter with sentence embeddings. For a query with the set R of relevant passages and a ranking:

    recall@5 = |R in the first 5| / min(5, |R|)      hit@5 = 1 if any of R is in the first 5, else 0
    RR = 1 / rank of the first of R within the first 50, 0 where there is none; MRR is its mean

Every figure is the mean over the queries (Manning, Raghavan, Schuetze: Introduction to Information Retrieval, ch. 8;
recall is capped so that a query with more than five relevant passages can reach 1).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import yaml

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge.embedded import EmbeddedStore
from fundus_ray.knowledge.matcher import Matcher
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.store import build_store, read_corpus
from fundus_ray.knowledge.vocabulary import load_vocabulary

QUERIES = Path(__file__).parents[1] / "tests" / "knowledge" / "retrieval_queries.yaml"
KINDS = ("clinical", "abbreviation", "lay")
K = 5
DEPTH = 50  # how far down the first relevant passage is sought


@dataclass(frozen=True)
class Query:
    """What somebody asks, and the passages that answer it."""

    text: str
    kind: str
    relevant: frozenset[str]


@dataclass(frozen=True)
class Quality:
    """Means over queries."""

    recall: float
    hit: float
    mrr: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=Path, default=QUERIES)
    parser.add_argument("--misses", action="store_true", help="list what BM25 with synonyms misses")
    parser.add_argument("--without-embeddings", action="store_true", help="leave the hybrid row out")
    args = parser.parse_args()
    queries = read_queries(args.queries)
    with tempfile.TemporaryDirectory() as folder:
        rankings = asyncio.run(all_rankings(queries, folder=Path(folder), hybrid=not args.without_embeddings))
    print(table(queries, rankings))
    if args.misses:
        print("\n".join(misses(queries, rankings["BM25 with synonyms"])))


def read_queries(file: Path) -> list[Query]:
    """The queries of a YAML file. Raises DataError naming the file and the item that is not of their form."""
    try:
        items = yaml.safe_load(file.read_text(encoding="utf-8"))["queries"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as err:
        raise DataError(f"{file}: must hold `queries:` with a list: {' '.join(str(err).split())}") from None
    queries = []
    for number, item in enumerate(items):
        try:
            queries.append(Query(str(item["query"]), item["kind"], frozenset(item["relevant"])))
        except (KeyError, TypeError):
            raise DataError(f"{file}: item {number} needs query, kind and relevant, got {item!r}") from None
        if queries[-1].kind not in KINDS or not queries[-1].relevant:
            raise DataError(f"{file}: item {number} needs a kind of {', '.join(KINDS)} and a relevant passage")
    return queries


async def all_rankings(queries: Sequence[Query], *, folder: Path, hybrid: bool) -> dict[str, list[list[str]]]:
    """Passage ids, best first, of every query for each way of searching."""
    config = KnowledgeConfig()
    corpus = read_corpus(config)
    store = await build_store(config, folder=folder, corpus=corpus)
    nothing = Matcher({})
    bare = replace(load_vocabulary(), finding_matcher=nothing, label_matcher=nothing, abbreviations={})
    plain = EmbeddedStore.open(folder / corpus.snapshot, vocabulary=bare, encode=None)
    stores: dict[str, Retriever] = {"BM25 without synonyms": plain, "BM25 with synonyms": store}
    if hybrid:
        stores["hybrid"] = await build_store(replace(config, embeddings="minilm"), folder=folder)
    rankings = {}
    for name, opened in stores.items():
        found = await opened.search([query.text for query in queries], k=DEPTH)
        rankings[name] = [[evidence.passage_id for evidence in hits] for hits in found]
        await opened.close()
    return rankings


def recall_at(ranking: Sequence[str], relevant: Collection[str], *, k: int = K) -> float:
    """Share of the relevant passages among the first k, where k of them is all that fit."""
    return len(set(ranking[:k]) & set(relevant)) / min(k, len(relevant))


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str]) -> float:
    """1 / rank of the first relevant passage; 0 where there is none."""
    return next((1 / rank for rank, passage in enumerate(ranking, start=1) if passage in relevant), 0.0)


def quality(queries: Sequence[Query], rankings: Sequence[Sequence[str]]) -> Quality:
    """Means over the queries, each with its ranking. Raises StatisticsError where there are none."""
    pairs = [(ranking, query.relevant) for query, ranking in zip(queries, rankings, strict=True)]
    recalls = [recall_at(ranking, relevant) for ranking, relevant in pairs]
    return Quality(
        recall=fmean(recalls),
        hit=fmean(float(recall > 0) for recall in recalls),
        mrr=fmean(reciprocal_rank(ranking, relevant) for ranking, relevant in pairs),
    )


def table(queries: Sequence[Query], rankings: dict[str, list[list[str]]]) -> str:
    """Markdown: a row a way of searching and kind."""
    lines = ["| search | queries | n | recall@5 | hit@5 | MRR |", "| --- | --- | --: | --: | --: | --: |"]
    for name, ranked in rankings.items():
        for kind in (*KINDS, "all"):
            chosen = [pair for pair in zip(queries, ranked, strict=True) if kind in (pair[0].kind, "all")]
            if chosen:
                found = quality([query for query, _ in chosen], [ranking for _, ranking in chosen])
                figures = f"{found.recall:.3f} | {found.hit:.3f} | {found.mrr:.3f}"
                lines.append(f"| {name} | {kind} | {len(chosen)} | {figures} |")
    return "\n".join(lines)


def misses(queries: Sequence[Query], rankings: Sequence[Sequence[str]]) -> list[str]:
    """A line for each query whose relevant passages are not all among the first five."""
    lines = []
    for query, ranking in zip(queries, rankings, strict=True):
        left = sorted(query.relevant - set(ranking[:K]))
        if recall_at(ranking, query.relevant) < 1:
            lines.append(f"{query.kind}: {query.text!r} lacks {', '.join(left)}; found {', '.join(ranking[:K])}")
    return lines


if __name__ == "__main__":
    main()
