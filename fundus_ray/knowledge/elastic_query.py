"""What Elasticsearch is told, as pure functions: an index's settings and mapping, a search's body, bulk operations.

The scores equal the embedded store's because both are given words (query.words_of) and only stem them, by Snowball's
English stemmer, both sum over the same clauses, and one shard knows the statistics of the whole index. Vectors are
searched by brute force (`flat`), which is exact, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import FIELDS, Clause, searched_fields
from fundus_ray.knowledge.retriever import MOST_PASSAGES
from fundus_ray.knowledge.snapshot import STEMMER

STORED = ("id", "title", "section", "text", "source", "url", "licence")  # a passage's fields, as in Passage
_ANALYSIS = {
    "filter": {"stem": {"type": "stemmer", "language": STEMMER}},
    "analyzer": {"words": {"type": "custom", "tokenizer": "whitespace", "filter": ["lowercase", "stem"]}},
}
_KEPT = {"type": "keyword", "index": False, "doc_values": False}  # returned, never searched: so no length limit


def index_body(*, snapshot: str, passages: int, dims: int) -> dict[str, Any]:
    """Settings and mapping of an index; `dims` is the vectors' length, 0 for none."""
    properties: dict[str, Any] = {name: dict(_KEPT) for name in (*STORED, "sha256")}
    properties["id"] = {"type": "keyword"}
    properties |= {name: {"type": "text", "analyzer": "words"} for name in FIELDS}
    if dims:
        properties["vector"] = {
            "type": "dense_vector",
            "dims": dims,
            "index": True,
            "similarity": "cosine",
            "index_options": {"type": "flat"},
        }
    return {
        "settings": {"number_of_shards": 1, "analysis": _ANALYSIS},
        "mappings": {
            "dynamic": "strict",
            "_meta": {"snapshot": snapshot, "passages": passages},
            "properties": properties,
        },
    }


def field_types(mapping: dict[str, Any]) -> dict[str, Any]:
    """Each field's type, and the vectors' length: what two mappings must agree in."""
    return {
        name: (field.get("type"), field.get("dims")) for name, field in sorted(mapping.get("properties", {}).items())
    }


def bulk_operations(passages: Iterable[Passage], vectors: Iterable[NDArray[np.float32]] | None) -> Iterator[list[Any]]:
    """Two lines of the bulk format for each passage. `create`: a passage that is there already is left as it is, since
    writing it again would count it twice in the index's statistics until its segments merge."""
    rows = iter(vectors) if vectors is not None else None
    for passage in passages:
        document = asdict(passage) | searched_fields(passage) | {"sha256": passage.sha256}
        if rows is not None:
            document["vector"] = next(rows).tolist()
        yield [{"create": {"_id": passage.id}}, document]


def bm25_body(terms: Sequence[Clause], *, size: int) -> dict[str, Any]:
    """The sum over the clauses, ids and scores only; a clause of one word is a term, of more a phrase."""
    groups: dict[tuple[str, float], list[Clause]] = {}
    for clause in terms:
        groups.setdefault((clause.field, clause.weight), []).append(clause)
    weighted = [
        {"bool": {"should": _sought(field, members), "boost": weight}} for (field, weight), members in groups.items()
    ]
    return {
        "query": {"bool": {"should": weighted, "minimum_should_match": 1}},
        "sort": [{"_score": "desc"}, {"id": "asc"}],
        "size": min(size, MOST_PASSAGES),
        "_source": False,
        "track_total_hits": False,
    }


def knn_body(vector: NDArray[np.float32], *, size: int) -> dict[str, Any]:
    """The nearest vectors, ids and scores only; a score is (1 + cosine) / 2."""
    size = min(size, MOST_PASSAGES)
    nearest = {"field": "vector", "query_vector": vector.tolist(), "k": size, "num_candidates": size}
    return {"knn": nearest, "size": size, "_source": False, "track_total_hits": False}


def _sought(field: str, members: Sequence[Clause]) -> list[dict[str, Any]]:
    words = [clause.words[0] for clause in members if len(clause.words) == 1]
    phrases = [clause.words for clause in members if len(clause.words) > 1]
    # A match of several words is the sum of their terms.
    sought: list[dict[str, Any]] = [{"match": {field: " ".join(words)}}] if words else []
    return sought + [{"match_phrase": {field: " ".join(phrase)}} for phrase in phrases]
