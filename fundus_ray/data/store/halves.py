"""A store as training reads it: two halves that share nothing, without what a benchmark tests on.

In: the `data` section of the config. Out: the two halves as sequences. All checks read a few columns, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fundus_ray.config import DataConfig
from fundus_ray.data.leaks.benchmark import BenchmarkImages, read_benchmarks
from fundus_ray.data.leaks.guard import LeakGuard, refuse_leaks
from fundus_ray.data.store.manifest import SPLITS
from fundus_ray.data.store.read import Store, StoredSamples
from fundus_ray.errors import DataError
from fundus_ray.types import Sample

FindingIds = Callable[[Sequence[str]], tuple[str, ...]]


def stored_halves(
    data: DataConfig, *, finding_ids: FindingIds, change: Callable[[Sample], Sample]
) -> tuple[StoredSamples, StoredSamples, str]:
    """(training samples, held-out samples, content hash) of the store `data.path`.

    Raises DataError where it is no whole store, where a patient or image is in both halves, where a training image is
    a benchmark's (of the store's own list, or of `data.benchmarks`), or where a finding is not in the vocabulary.
    """
    store = Store(data.path, image_root=data.image_root)
    check_store(store, finding_ids=finding_ids, further=read_benchmarks(data.benchmarks) if data.benchmarks else ())
    return store.samples("train", change=change), store.samples("eval", change=change), store.manifest.content


def check_store(store: Store, *, finding_ids: FindingIds, further: Sequence[BenchmarkImages]) -> None:
    """Raises DataError as `stored_halves`. further: benchmarks beside those that the store names."""
    _check_findings(store, finding_ids)
    _check_apart(store)
    benchmarks = (*store.benchmarks(), *further)
    if benchmarks:
        remedy = f"write {store.folder.name} again without them (fundus-ray data pack --benchmarks)"
        refuse_leaks(store.pictures("train"), guard=LeakGuard(benchmarks), remedy=remedy)


def _check_findings(store: Store, finding_ids: FindingIds) -> None:
    names: set[str] = set()
    for split in SPLITS:
        for batch in store.batches(split, ("findings",)):
            names.update(pc.unique(pc.list_flatten(batch.column(0))).to_pylist())
    for name in sorted(names):
        try:
            known = finding_ids([name]) == (name,)
        except DataError:
            known = False
        if not known:
            rows = (row for split in SPLITS for row in store.rows(split, ("id", "findings")))
            owner = next(row["id"] for row in rows if name in (row["findings"] or ()))
            raise DataError(f"{store.folder.name}: sample {owner}: finding {name!r} is no id of the vocabulary")


def _check_apart(store: Store) -> None:
    """8 bytes a row are held; only where two are equal are the texts compared."""
    digests = {split: _digests(store, split) for split in SPLITS}
    for at, kind in enumerate(("patient", "image")):
        train, held_out = (digests[split][at] for split in SPLITS)
        shared = set(np.intersect1d(train, held_out).tolist())
        if not shared:
            continue
        texts = {key: name for name, key in _keys(store, "train", kind) if hash(key) in shared}
        for name, key in _keys(store, "eval", kind):
            if key in texts:
                where = f"samples {texts[key]} (train) and {name} (eval)"
                raise DataError(f"{store.folder.name}: {kind} {'/'.join(key)} is in both halves: {where}")


def _digests(store: Store, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(of patients, of images), each once."""
    patients: list[NDArray[np.int64]] = []
    images: list[NDArray[np.int64]] = []
    for batch in store.batches(split, ("source", "patient_id", "sha256")):
        source, patient, sha256 = (column.to_pylist() for column in batch.columns)
        patients.append(np.unique(np.array([hash(pair) for pair in zip(source, patient, strict=True)])))
        images.append(np.unique(np.array([hash((one,)) for one in sha256])))
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *patients]), np.concatenate([none, *images])


def _keys(store: Store, split: str, kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(sample id, its patient or image)."""
    columns = ("source", "patient_id") if kind == "patient" else ("sha256",)
    for row in store.rows(split, ("id", *columns)):
        yield row["id"], tuple(row[column] for column in columns)
