"""Full-text search over the passages: BM25 by the embedded engine tantivy, with synonyms added to the query.

In: shipped passages, those of `knowledge.passages_dir`, and the vocabulary. Out: `Evidence`, best first. The index lies
in a folder named after its snapshot, the hash of everything that retrieval and scoring read, so that a score can be
traced to what it rests on. Any number of processes may open one folder at once; nothing writes to it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tantivy

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError, FundusRayError
from fundus_ray.knowledge.markdown import Passage, read_folder
from fundus_ray.knowledge.records import record_files
from fundus_ray.knowledge.vocabulary import FINDINGS_FILE, HERE, LABELS_FILE, Vocabulary, load_vocabulary
from fundus_ray.types import Evidence

SCHEMA_VERSION = "1"  # count up when the index's fields or analysis change
PASSAGES_DIR = HERE / "passages"
MANIFEST = "snapshot.json"  # written last: a folder without it is no index
_FIELDS = {"title": 2.0, "text": 1.0}  # searched fields and their weight
_SYNONYM_WEIGHT = 0.5
_MAX_WORDS = 64  # of a query; more adds cost, not meaning
_WORD = re.compile(r"[^\W_]+")
_WRITER_BYTES = 15_000_000  # tantivy's least heap for a writer


class SearchError(FundusRayError):
    """The search engine failed: our fault, so what depends on it is unscorable, never zero."""


class KnowledgeIndex:
    """An opened index. `folder` is what `open` takes in another process; `snapshot` names its content."""

    def __init__(self, index: tantivy.Index, *, folder: Path, snapshot: str, vocabulary: Vocabulary) -> None:
        self.folder = folder
        self.snapshot = snapshot
        self._index = index
        self._vocabulary = vocabulary

    @classmethod
    def build(cls, config: KnowledgeConfig, *, folder: Path) -> KnowledgeIndex:
        """Builds `folder/SNAPSHOT`, or reuses it where it exists, and opens it.

        Atomic: two processes that build at once both end with a whole index. Raises DataError naming a passage file
        that cannot be read, SearchError where the index cannot be written.
        """
        passages = read_folder(PASSAGES_DIR)
        if config.passages_dir:
            passages += read_folder(Path(config.passages_dir), prefix="user/")
        snapshot = snapshot_id(passages)
        target = folder / snapshot
        if not (target / MANIFEST).is_file():
            _write(passages, target=target, snapshot=snapshot)
        return cls.open(target)

    @classmethod
    def open(cls, folder: Path) -> KnowledgeIndex:
        """Opens a built index for reading. Raises DataError where there is none, SearchError where it is broken."""
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise DataError(f"{folder}: no knowledge index here (no {MANIFEST}); build it first")
        try:
            snapshot = json.loads(manifest.read_text())["snapshot"]
            index = tantivy.Index.open(str(folder))
            # The folder never changes, so no thread need watch it.
            index.config_reader("manual", 1)
            index.reload()
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise SearchError(f"{folder}: knowledge index cannot be opened: {' '.join(str(err).split())}") from None
        return cls(index, folder=folder, snapshot=snapshot, vocabulary=load_vocabulary())

    def search(self, query: str, k: int) -> tuple[Evidence, ...]:
        """The k best passages by BM25, best first; none for a query without words. Any text is a valid query.

        Raises SearchError where the engine fails.
        """
        terms = self._expand(query)
        if not terms or k < 1:
            return ()
        try:
            parsed = self._index.parse_query(terms, list(_FIELDS), _FIELDS)
            searcher = self._index.searcher()
            hits = [(score, searcher.doc(address)) for score, address in searcher.search(parsed, k).hits]
        except (OSError, ValueError, RuntimeError) as err:
            raise SearchError(
                f"{self.folder}: search failed for {query[:80]!r}: {' '.join(str(err).split())}"
            ) from None
        return tuple(
            Evidence(
                passage_id=str(doc.get_first("id")),
                title=str(doc.get_first("title")),
                text=str(doc.get_first("text")),
                source=str(doc.get_first("source")),
                score=float(score),
                rank=rank,
                query=query,
            )
            for rank, (score, doc) in enumerate(hits, start=1)
        )

    def _expand(self, query: str) -> str:
        """The query's words, and the other names of each finding and label in it as phrases of less weight.

        Words are letters and digits in lower case, so nothing in them is an operator of tantivy's query language.
        """
        words = list(dict.fromkeys(_WORD.findall(query.lower())))[:_MAX_WORDS]
        vocabulary = self._vocabulary
        phrases: dict[str, None] = {}
        for key, _, _ in vocabulary.finding_matcher.find(query):
            finding = vocabulary.findings[key]
            phrases |= dict.fromkeys((finding.name, *finding.synonyms))
        for key, _, _ in vocabulary.label_matcher.find(query):
            phrases |= dict.fromkeys((key, *vocabulary.labels[key]))
        quoted = [f'"{" ".join(_WORD.findall(phrase.lower()))}"^{_SYNONYM_WEIGHT}' for phrase in phrases]
        return " ".join([*words, *quoted])


def snapshot_id(passages: Sequence[Passage]) -> str:
    """First 16 hex digits of the SHA-256 over passages, records, vocabulary and schema version."""
    content = [SCHEMA_VERSION, json.dumps([asdict(p) for p in passages], sort_keys=True)]
    content += [file.read_text(encoding="utf-8") for file in (FINDINGS_FILE, LABELS_FILE, *record_files())]
    # JSON keeps the parts apart: moving a line from one file to the next changes the hash.
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _write(passages: Sequence[Passage], *, target: Path, snapshot: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        _fill(passages, folder=temporary)
        manifest = {"snapshot": snapshot, "schema": SCHEMA_VERSION, "passages": len(passages)}
        (temporary / MANIFEST).write_text(json.dumps(manifest))
        temporary.chmod(0o755)
        _move_into_place(temporary, target)
    except (OSError, ValueError) as err:
        raise SearchError(f"{target}: knowledge index cannot be written: {' '.join(str(err).split())}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, target: Path) -> None:
    try:
        os.rename(temporary, target)
    except OSError:
        # Another process was faster, and its index has the same content.
        if not (target / MANIFEST).is_file():
            raise


def _fill(passages: Sequence[Passage], *, folder: Path) -> None:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_text_field("source", stored=True, tokenizer_name="raw")
    for name in _FIELDS:
        builder.add_text_field(name, stored=True, tokenizer_name="en_stem")
    index = tantivy.Index(builder.build(), path=str(folder))
    # One thread keeps the order of the documents, which decides between equal scores.
    writer = index.writer(_WRITER_BYTES, 1)
    for passage in passages:
        writer.add_document(
            tantivy.Document(id=passage.id, title=passage.title, text=passage.text, source=passage.source)
        )
    writer.commit()
    writer.wait_merging_threads()
