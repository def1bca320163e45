"""The snapshot id: a hash of everything that retrieval and scoring read, so that a score can be traced to it.

In: passages, vocabulary, records, the embedding model's fingerprint. Out: 16 hex digits, the same for every store, on
every machine. It changes with any content, with how text and queries are analysed, and with nothing else: neither
the order nor the layout of the files counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from fundus_ray.knowledge import fusion, query
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.vocabulary import Vocabulary

STORE_VERSION = "3"  # count up when the stores' fields or queries change in a way that ANALYSIS does not show
STEMMER = "porter2"  # Snowball English; each engine has its own name for it
ANALYSIS = {
    "version": STORE_VERSION,
    "word": query.WORD,
    "longest_word": query.MAX_WORD_CHARS,
    "stemmer": STEMMER,
    "fields": query.FIELDS,
    "synonym_weight": query.SYNONYM_WEIGHT,
    "stop_words": sorted(query.STOP_WORDS),
    "max_words": query.MAX_WORDS,
    "rrf_k": fusion.RRF_K,
    "depth": fusion.DEPTH,
}


def snapshot_id(passages: Iterable[Passage], *, vocabulary: Vocabulary, records: Records, embeddings: str = "") -> str:
    """First 16 hex digits of the SHA-256. `embeddings` is the model's fingerprint, "" for BM25 alone."""
    content: dict[str, Any] = {
        "passages": sorted((asdict(passage) for passage in passages), key=lambda row: row["id"]),
        "findings": [asdict(finding) for _, finding in sorted(vocabulary.findings.items())],
        "labels": sorted(vocabulary.labels.items()),
        "records": [
            asdict(record) for _, record in sorted(records.by_key.items(), key=lambda item: [str(p) for p in item[0]])
        ],
        "abbreviations": sorted(vocabulary.abbreviations.items()),
        "analysis": ANALYSIS,
        "embeddings": embeddings,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
