"""The store in a folder: BM25 by the embedded engine tantivy, and vectors by brute force.

In: passages with their snapshot id, and vectors where there is an embedding model. Out: a `Retriever`. The index lies
in a folder named after its snapshot. Any number of processes may open one folder at once; nothing writes to it again.
Passages are numbered by row, in the order of their ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from fundus_ray.errors import DataError
from fundus_ray.knowledge.evidence import evidence
from fundus_ray.knowledge.fusion import DEPTH, SLACK, best_first, fuse
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import FIELDS, Clause, clauses, searched_fields
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.types import Evidence

MANIFEST = "snapshot.json"  # written last: a folder without it is no index
VECTORS = "vectors.npy"
_ANALYZER = "words"
_WRITER_BYTES = 15_000_000  # tantivy's least heap for a writer

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class EmbeddedStore:
    """An opened index. `folder` is what `open` takes in another process."""

    def __init__(
        self,
        index: tantivy.Index,
        *,
        folder: Path,
        snapshot: str,
        vectors: NDArray[np.float32] | None,
        vocabulary: Vocabulary,
        encode: Encode | None,
    ) -> None:
        self.folder = folder
        self.snapshot = snapshot
        self._index = index
        self._analyzer = _analyzer()
        self._vectors = vectors
        self._vocabulary = vocabulary
        self._encode = encode

    @classmethod
    def open(cls, folder: Path, *, vocabulary: Vocabulary, encode: Encode | None) -> EmbeddedStore:
        """Opens a built index for reading. Raises DataError where there is none, SearchError where it is broken."""
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise DataError(
                f"{folder}: no knowledge index here (no {MANIFEST}); build it with the same settings: fundus-ray "
                f"knowledge build --out {folder.parent}"
            )
        try:
            snapshot = json.loads(manifest.read_text())["snapshot"]
            index = tantivy.Index.open(str(folder))
            index.register_tokenizer(_ANALYZER, _analyzer())
            # The folder never changes, so no thread need watch it.
            index.config_reader("manual", 1)
            index.reload()
            vectors = None if encode is None else np.load(folder / VECTORS)
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise SearchError(f"{folder}: knowledge index cannot be opened: {_line(err)}") from None
        return cls(index, folder=folder, snapshot=snapshot, vectors=vectors, vocabulary=vocabulary, encode=encode)

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        """As Retriever.search; the score is BM25's, or with vectors that of the fusion."""
        return await asyncio.to_thread(self._search, list(queries), k)

    async def close(self) -> None:
        """Nothing is held open."""

    def _search(self, queries: list[str], k: int) -> list[tuple[Evidence, ...]]:
        sought = [clauses(query, vocabulary=self._vocabulary) for query in queries]
        if k < 1:
            return [() for _ in queries]
        try:
            vectors = None if self._encode is None else self._encode(queries)
            searcher = self._index.searcher()
            return [
                self._best(searcher, query, terms, vector=None if vectors is None else vectors[number], k=k)
                if terms
                else ()
                for number, (query, terms) in enumerate(zip(queries, sought, strict=True))
            ]
        except (OSError, ValueError, RuntimeError) as err:
            raise SearchError(f"{self.folder}: search failed: {_line(err)}") from None

    def _best(
        self,
        searcher: tantivy.Searcher,
        query: str,
        terms: Sequence[Clause],
        *,
        vector: NDArray[np.float32] | None,
        k: int,
    ) -> tuple[Evidence, ...]:
        depth = k if vector is None else max(k, DEPTH)
        hits = searcher.search(self._query(terms), depth + SLACK, count=False).hits
        rows = searcher.fast_field_values("row", [address for _, address in hits])
        address_of = dict(zip(rows, (address for _, address in hits), strict=True))
        ranked = best_first((int(row), float(score)) for row, (score, _) in zip(rows, hits, strict=True))[:depth]
        if vector is not None:
            ranked = fuse([[row for row, _ in ranked], self._nearest(vector, depth=depth)])
        found = []
        for row, score in ranked[:k]:
            address = address_of[row] if row in address_of else self._address(searcher, row)
            found.append((_passage(searcher.doc(address)), score))
        return evidence(found, query=query)

    def _nearest(self, vector: NDArray[np.float32], *, depth: int) -> list[int]:
        assert self._vectors is not None
        # As Elasticsearch scores cosines, so that ties are judged on the same numbers.
        scores = (1 + self._vectors @ vector) / 2
        wanted = min(depth + SLACK, len(scores))
        rows = np.argpartition(-scores, wanted - 1)[:wanted]
        return [row for row, _ in best_first((int(row), float(scores[row])) for row in rows)[:depth]]

    def _query(self, terms: Sequence[Clause]) -> tantivy.Query:
        """The sum over the clauses; built, not parsed, so nothing in a query is an operator."""
        schema = self._index.schema
        parts = []
        for clause in terms:
            stems = self._analyzer.analyze(" ".join(clause.words))
            if len(stems) > 1:
                part = tantivy.Query.phrase_query(schema, clause.field, stems)
            else:
                part = tantivy.Query.term_query(schema, clause.field, stems[0])
            parts.append((tantivy.Occur.Should, tantivy.Query.boost_query(part, clause.weight)))
        return tantivy.Query.boolean_query(parts)

    def _address(self, searcher: tantivy.Searcher, row: int) -> tantivy.DocAddress:
        return searcher.search(tantivy.Query.term_query(self._index.schema, "row", row), 1, count=False).hits[0][1]


def build(
    passages: Sequence[Passage], *, snapshot: str, folder: Path, vectors: Callable[[], NDArray[np.float32]] | None
) -> Path:
    """Builds `folder/SNAPSHOT`, or reuses it where it exists; returns it. `vectors`: one a passage, in their order.

    Atomic: two processes that build at once both end with a whole index. Raises SearchError where it cannot be
    written.
    """
    target = folder / snapshot
    if (target / MANIFEST).is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    except OSError as err:
        raise SearchError(f"{target}: knowledge index cannot be written: {_line(err)}") from None
    try:
        _fill(passages, folder=temporary)
        if vectors is not None:
            np.save(temporary / VECTORS, vectors())
        (temporary / MANIFEST).write_text(json.dumps({"snapshot": snapshot, "passages": len(passages)}))
        temporary.chmod(0o755)
        _move_into_place(temporary, target)
    except (OSError, ValueError) as err:
        raise SearchError(f"{target}: knowledge index cannot be written: {_line(err)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _move_into_place(temporary: Path, target: Path) -> None:
    try:
        os.rename(temporary, target)
    except OSError:
        # Another process was faster, and its index has the same content.
        if not (target / MANIFEST).is_file():
            raise


def _fill(passages: Iterable[Passage], *, folder: Path) -> None:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_bytes_field("passage", stored=True)
    for name in FIELDS:
        builder.add_text_field(name, tokenizer_name=_ANALYZER)
    index = tantivy.Index(builder.build(), path=str(folder))
    index.register_tokenizer(_ANALYZER, _analyzer())
    # One thread keeps the order of the documents, which decides between ties deeper than SLACK.
    writer = index.writer(_WRITER_BYTES, 1)
    for row, passage in enumerate(passages):
        document = tantivy.Document(passage=json.dumps(asdict(passage)).encode(), **searched_fields(passage))
        document.add_unsigned("row", row)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def _analyzer() -> tantivy.TextAnalyzer:
    """Stems words between blanks by Snowball's English stemmer; no stop words."""
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace())
    return words.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.stemmer("english")).build()


def _passage(document: tantivy.Document) -> Passage:
    return Passage(**json.loads(bytes(document.get_first("passage"))))


def _line(err: Exception) -> str:
    return " ".join(str(err).split())[:300]
