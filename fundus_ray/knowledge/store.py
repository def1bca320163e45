"""The knowledge store of a configuration: reading what goes in, building it, opening it.

In: `knowledge.*` settings, and a folder for the embedded store. Out: a `Retriever`, the same in all but speed whether
knowledge.store is `embedded` or `elasticsearch`. Engines and the embedding model are imported only where they are
used: an Elasticsearch client or PyTorch costs a second.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge import embedded
from fundus_ray.knowledge.ingest import ingest
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import words_of
from fundus_ray.knowledge.records import Records, load_records
from fundus_ray.knowledge.retriever import Retriever
from fundus_ray.knowledge.share import drawn, share_of_records
from fundus_ray.knowledge.snapshot import snapshot_id

if TYPE_CHECKING:
    from fundus_ray.knowledge.embedding import Embedder


@dataclass(frozen=True, slots=True)
class Corpus:
    """What goes into a store. `problems`: one line for each file or row that was left out."""

    passages: tuple[Passage, ...]  # by id
    problems: tuple[str, ...]
    files: int
    snapshot: str


@dataclass(frozen=True, slots=True)
class BuiltStore:
    """What another process needs, beside the settings, to open the store that was built."""

    folder: Path  # of embedded stores, absolute
    snapshot: str


def records_of(config: KnowledgeConfig) -> Records:
    """The shipped records and the user's, or knowledge.share of them; their vocabulary, always whole, is that of
    queries. Raises DataError naming the file."""
    records = load_records(Path(config.records_dir) if config.records_dir else None)
    return share_of_records(records, share=config.share, seed=config.share_seed) if config.share < 1 else records


def read_corpus(config: KnowledgeConfig) -> Corpus:
    """Passages, all or knowledge.share of them, and their snapshot id. Raises DataError, ConfigError where the settings
    name what is not there."""
    read, records = ingest(config), records_of(config)
    if config.passages_dir and not any(passage.id.startswith("user/") for passage in read.passages):
        why = f": {read.problems[0]}" if read.problems else ""
        raise DataError(f"knowledge.passages_dir={config.passages_dir} gives no passage{why}")
    kept = drawn((passage.id for passage in read.passages), share=config.share, seed=config.share_seed)
    passages = sorted((passage for passage in read.passages if passage.id in kept), key=lambda passage: passage.id)
    wordless = [passage.id for passage in passages if not words_of(passage.text)]
    return Corpus(
        passages=tuple(passage for passage in passages if words_of(passage.text)),
        problems=(*read.problems, *(f"passage {name}: no words in it; left out" for name in wordless)),
        files=read.files,
        snapshot=snapshot_id(
            passages,
            vocabulary=records.vocabulary,
            records=records,
            embeddings=_embedder(config.embeddings).fingerprint if config.embeddings else "",
        ),
    )


async def build_store(config: KnowledgeConfig, *, folder: Path, corpus: Corpus | None = None) -> Retriever:
    """Builds the store, or finds it built, and opens it. `corpus`: as read_corpus gives it, where it was read already.

    `folder` holds embedded stores; an Elasticsearch store needs none. Raises DataError, ConfigError where the settings
    name what is not there, SearchError where the store fails.
    """
    corpus = corpus or read_corpus(config)
    vectors = (lambda: _vectors(config, corpus)) if config.embeddings else None
    if config.store == "elasticsearch":
        from fundus_ray.knowledge import elastic, elastic_client

        cluster = elastic_client.Cluster(config)
        try:
            await elastic.build(cluster, corpus.passages, alias=config.index, snapshot=corpus.snapshot, vectors=vectors)
        finally:
            await cluster.close()
    else:
        await asyncio.to_thread(
            embedded.build, corpus.passages, snapshot=corpus.snapshot, folder=folder, vectors=vectors
        )
    return await open_store(config, BuiltStore(folder=folder, snapshot=corpus.snapshot))


async def open_store(config: KnowledgeConfig, built: BuiltStore) -> Retriever:
    """Opens a store that was built. Raises DataError where there is none, SearchError where it is broken, does not
    answer, or holds another snapshot."""
    vocabulary = records_of(config).vocabulary
    encode = _embedder(config.embeddings).encode if config.embeddings else None
    if config.store == "elasticsearch":
        from fundus_ray.knowledge import elastic, elastic_client

        async with AsyncExitStack() as on_error:
            cluster = elastic_client.Cluster(config)
            on_error.push_async_callback(cluster.close)
            store = await elastic.ElasticStore.open(
                cluster, alias=config.index, snapshot=built.snapshot, vocabulary=vocabulary, encode=encode
            )
            on_error.pop_all()
            return store
    return await asyncio.to_thread(
        embedded.EmbeddedStore.open, built.folder / built.snapshot, vocabulary=vocabulary, encode=encode
    )


@lru_cache(maxsize=1)
def _embedder(setting: str) -> Embedder:
    from fundus_ray.knowledge.embedding import Embedder

    return Embedder(setting)


def _vectors(config: KnowledgeConfig, corpus: Corpus) -> NDArray[np.float32]:
    """[N, D] of titles, headings and texts."""
    texts = [" ".join(f"{p.title} {p.section} {p.text}".split()) for p in corpus.passages]
    return _embedder(config.embeddings).encode(texts)
