"""Samples -> a store.

In: samples one by one, each with the fingerprint of its image. Out: shards, then the manifest. At most one shard of
each half is held in memory, as rows until its row group is full, then as Parquet bytes; and 48 bytes a row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fundus_ray.bars import Bar
from fundus_ray.data.leaks.benchmark import BenchmarkImages, benchmarks_bytes
from fundus_ray.data.leaks.fingerprint import Words
from fundus_ray.data.places import Place, place
from fundus_ray.data.store.manifest import (
    BENCHMARKS,
    FORMAT,
    MANIFEST,
    SPLITS,
    Manifest,
    Shard,
    content_hash,
    write_manifest,
)
from fundus_ray.data.store.rows import SCHEMA, root_of, row_of
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

ROWS_A_GROUP = 512  # what is decoded to read one sample
ROWS_A_SHARD = 50 * 1024


def write_store(
    folder: str | Path,
    samples: Iterable[tuple[Sample, Words | None]],
    *,
    licences: Mapping[str, str],
    image_root: str = "",
    benchmarks: Sequence[BenchmarkImages] = (),
    rows_a_shard: int = ROWS_A_SHARD,
) -> Manifest:
    """Write the samples, in their order, to `folder`, which must not hold a store.

    image_root: folder (or address) below which image paths are kept relative to it. licences: of every source.
    benchmarks: what the samples were cleared of; kept beside them, and checked again before each training.
    Raises DataError on a store that is there, an id that comes twice, a split that is neither train nor eval, or a
    source without a licence.
    """
    target = place(folder)
    refuse_store(target)
    root = root_of(image_root)
    halves = {split: _Half(target, split, rows_a_shard=rows_a_shard) for split in SPLITS}
    seen = _Seen(licences)
    for sample, mark in Bar(samples, desc=f"writing {target.name}", unit="row", mininterval=0.5):
        seen.add(sample)
        halves[sample.split].add(row_of(sample, mark, image_root=root))
    shards = tuple(shard for half in halves.values() for shard in half.finished())
    if benchmarks:
        target.write(BENCHMARKS, benchmarks_bytes(benchmarks))
    manifest = Manifest(
        format=FORMAT,
        content=content_hash(shards),
        image_root=root,
        rows_a_group=ROWS_A_GROUP,
        counts=seen.counts(),
        licences={source: licences[source] for source in sorted(seen.by["source"])},
        benchmarks={one.name: len(one.keys) for one in benchmarks},
        shards=shards,
    )
    write_manifest(target, manifest)
    return manifest


def refuse_store(folder: Place) -> None:
    """Raises DataError where the folder holds a store."""
    if folder.size(MANIFEST) is not None:
        raise DataError(f"{folder.name} holds a store already; take another folder, or remove this one")


class _Half:
    """The shards of one half, being written."""

    def __init__(self, folder: Place, split: str, *, rows_a_shard: int) -> None:
        self._folder, self._split, self._limit = folder, split, rows_a_shard
        self._rows: list[dict[str, Any]] = []
        self._in_shard = 0
        self._shards: list[Shard] = []
        self._open()

    def _open(self) -> None:
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd")
        self._in_shard = 0

    def add(self, row: dict[str, Any]) -> None:
        """One row; on disk once its shard is full."""
        self._rows.append(row)
        self._in_shard += 1
        if len(self._rows) == ROWS_A_GROUP or self._in_shard == self._limit:
            self._write_group()
        if self._in_shard == self._limit:
            self._close()
            self._open()

    def finished(self) -> list[Shard]:
        """All shards, with the last one."""
        if self._in_shard:
            self._write_group()
            self._close()
        return self._shards

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA), row_group_size=ROWS_A_GROUP)
            self._rows = []

    def _close(self) -> None:
        self._writer.close()
        content = self._sink.getvalue().to_pybytes()
        file = f"{self._split}-{len(self._shards):05d}.parquet"
        self._folder.write(file, content)
        digest = hashlib.sha256(content).hexdigest()
        self._shards.append(Shard(file, self._split, self._in_shard, len(content), digest))


class _Seen:
    """What is counted, and what must not come twice."""

    def __init__(self, licences: Mapping[str, str]) -> None:
        self._licences = licences
        self._ids: set[bytes] = set()
        self._images: set[bytes] = set()
        self._patients: set[bytes] = set()
        self.by: dict[str, Counter[str]] = {name: Counter() for name in ("split", "source", "task", "modality")}

    def add(self, sample: Sample) -> None:
        if sample.split not in SPLITS:
            raise DataError(f"sample {sample.id}: split is {sample.split!r}; allowed are {', '.join(SPLITS)}")
        if sample.source not in self._licences:
            raise DataError(f"sample {sample.id}: no licence is given for its source {sample.source!r}")
        identity = _short(sample.id)
        if identity in self._ids:
            raise DataError(f"sample id {sample.id!r} comes twice; ids must be unique in a store")
        self._ids.add(identity)
        self._images.add(_short(sample.image.sha256))
        self._patients.add(_short(sample.source, sample.patient_id))
        for name, value in zip(self.by, (sample.split, sample.source, sample.task, sample.modality.value), strict=True):
            self.by[name][value] += 1

    def counts(self) -> dict[str, Any]:
        sizes = {"rows": len(self._ids), "images": len(self._images), "patients": len(self._patients)}
        return {**sizes, **{name: dict(sorted(counts.items())) for name, counts in self.by.items()}}


def _short(*texts: str) -> bytes:
    """16 bytes in place of longer texts: what is remembered of each row."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()
