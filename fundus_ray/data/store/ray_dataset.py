"""A whole store, read by many workers at once through Ray Data: for passes over up to millions of images.

In: an open store. Out: a Ray Dataset of its rows, read shard by shard as they are needed, so that memory does not grow
with the store; and the fingerprints of its images, made where the workers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import ray.data
from pyarrow.fs import FSSpecHandler, PyFileSystem

from fundus_ray.data.leaks.benchmark import PRINT, print_bytes
from fundus_ray.data.leaks.fingerprint import file_fingerprint
from fundus_ray.data.store.read import Store
from fundus_ray.data.store.rows import joined
from fundus_ray.errors import DataError

BLOCK_BYTES = 16 * 1024**2  # of rows that travel together; Ray's own 128 MiB would be several shards
IMAGES_AT_ONCE = 64  # a task decodes these one after the other


def store_dataset(store: Store, split: str, *, columns: Sequence[str] | None = None) -> Any:
    """Rows of one half, in the store's order within each shard. `streaming_split(n)` gives n workers disjoint parts.

    Raises DataError where the half is empty.
    """
    shards = store.manifest.of(split)
    if not shards:
        raise DataError(f"{store.folder.name}: its half {split!r} holds no sample")
    dataset = ray.data.read_parquet(
        [f"{store.folder.path}/{shard.file}" for shard in shards],
        filesystem=PyFileSystem(FSSpecHandler(store.folder.fs)),
        columns=None if columns is None else list(columns),
        override_num_blocks=len(shards),
    )
    dataset.context.target_max_block_size = BLOCK_BYTES
    return dataset


def image_fingerprints(store: Store, split: str) -> Any:
    """A Ray Dataset of (image, fingerprint, problem): one row for each row of the half; null and a reason where the
    image cannot be read, null and no reason where it is flat."""
    root = store.image_root
    return store_dataset(store, split, columns=("image",)).map_batches(
        lambda batch: _hashed(batch, root), batch_format="pyarrow", batch_size=IMAGES_AT_ONCE
    )


def _hashed(batch: Any, image_root: str) -> Any:
    paths = batch.column("image").to_pylist()
    made = [_one(joined(path, image_root)) for path in paths]
    columns = {"image": pa.array(paths), "fingerprint": pa.array([mark for mark, _ in made], type=PRINT)}
    return pa.table({**columns, "problem": pa.array([problem for _, problem in made], type=pa.string())})


def _one(path: str) -> tuple[bytes | None, str | None]:
    try:
        return print_bytes(file_fingerprint(path)), None
    except DataError as err:
        return None, str(err)
