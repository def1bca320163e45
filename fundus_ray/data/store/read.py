"""The samples of a store by position, with no more of it in memory than a few row groups.

In: a folder or address. Out: `StoredSamples`, a sequence like any other, so that the endless seeded order of
data/order.py, which resumes at any position, draws from it as from a list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.parquet as pq

from fundus_ray.data.leaks.benchmark import BenchmarkImages, benchmarks_of, print_words
from fundus_ray.data.leaks.guard import Picture
from fundus_ray.data.places import Place, place
from fundus_ray.data.store.manifest import BENCHMARKS, Manifest, Shard, read_manifest
from fundus_ray.data.store.rows import joined, root_of, sample_of
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

GROUPS_HELD = 16  # row groups that are kept decoded
SHARDS_HELD = 16  # files that are kept open
ROWS_AT_ONCE = 8192


class Store:
    """An open store."""

    def __init__(self, folder: str | Path, *, image_root: str = "") -> None:
        """image_root: where its images lie now; empty = where they lay when it was written. Raises DataError where
        `folder` is no whole store."""
        self.folder: Place = place(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self.image_root = root_of(image_root) or self.manifest.image_root

    def samples(self, split: str, *, change: Callable[[Sample], Sample] | None = None) -> StoredSamples:
        """One half, each sample as `change` makes it."""
        return StoredSamples(self, split, change=change)

    def benchmarks(self) -> tuple[BenchmarkImages, ...]:
        """What it was cleared of when it was written."""
        if not self.manifest.benchmarks:
            return ()
        return benchmarks_of(self.folder.read(BENCHMARKS), origin=f"{self.folder.name}/{BENCHMARKS}")

    def batches(self, split: str, columns: Sequence[str]) -> Iterator[Any]:
        """These columns of one half, in order, as pyarrow record batches of a few thousand rows."""
        for shard in self.manifest.of(split):
            try:
                yield from open_shard(self.folder, shard).iter_batches(ROWS_AT_ONCE, columns=list(columns))
            except (pa.ArrowException, OSError) as err:
                raise _damaged(self.folder, shard, err) from None

    def rows(self, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The same, row by row."""
        for batch in self.batches(split, columns):
            yield from batch.to_pylist()

    def pictures(self, split: str) -> Iterator[Picture]:
        """What a leak guard asks of the images of one half; rows that follow each other about one image are one."""
        before: tuple[str, str, str] | None = None
        for row in self.rows(split, ("id", "source", "image", "patient_id", "fingerprint")):
            about = (row["source"], row["patient_id"], row["image"])
            if about == before:
                continue
            before, path = about, joined(row["image"], self.image_root)
            yield Picture(row["id"], row["source"], path, row["patient_id"], print_words(row["fingerprint"]))


class StoredSamples(Sequence[Sample]):
    """One half of a store."""

    def __init__(self, store: Store, split: str, *, change: Callable[[Sample], Sample] | None) -> None:
        self._store = store
        self._shards = store.manifest.of(split)
        self._ends = list(accumulate(shard.rows for shard in self._shards))
        self._change = change
        self._file = lru_cache(maxsize=SHARDS_HELD)(self._open)
        self._group = lru_cache(maxsize=GROUPS_HELD)(self._read_group)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Sample, ...]: ...

    def __getitem__(self, index: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(*index.indices(len(self))))
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, at)
        group, row = divmod(at - (self._ends[number] - self._shards[number].rows), self._store.manifest.rows_a_group)
        return self._group(number, group)[row]

    def _open(self, number: int) -> Any:
        return open_shard(self._store.folder, self._shards[number])

    def _read_group(self, number: int, group: int) -> tuple[Sample, ...]:
        try:
            rows = self._file(number).read_row_group(group).to_pylist()
            samples = (sample_of(row, image_root=self._store.image_root) for row in rows)
            return tuple(self._change(sample) if self._change else sample for sample in samples)
        except (pa.ArrowException, OSError, KeyError, ValueError) as err:
            raise _damaged(self._store.folder, self._shards[number], err) from None


def open_shard(folder: Place, shard: Shard) -> Any:
    """The shard as a pyarrow ParquetFile. Raises DataError where it is damaged."""
    try:
        return pq.ParquetFile(folder.open(shard.file))
    except (pa.ArrowException, OSError) as err:
        raise _damaged(folder, shard, err) from None


def _damaged(folder: Place, shard: Shard, err: Exception) -> DataError:
    return DataError(
        f"{folder.name}/{shard.file} is damaged: {' '.join(str(err).split())[:200]}; write the store again"
    )
