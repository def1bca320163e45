"""A store as training reads it: two halves that share nothing, without what a benchmark tests on.

In: the `data` section of the config. Out: the two halves as sequences. All checks read a few columns, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fundus_ray.config import DataConfig
from fundus_ray.data.leaks.benchmark import BenchmarkImages, read_benchmarks
from fundus_ray.data.leaks.guard import LeakGuard, refuse_leaks
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
    names: dict[str, str] = {}
    for split in ("train", "eval"):
        for row in store.rows(split, ("id", "findings")):
            for name in row["findings"] or ():
                names.setdefault(name, row["id"])
    for name, owner in names.items():
        if finding_ids([name]) != (name,):
            raise DataError(f"{store.folder.name}: sample {owner}: finding {name!r} is a name, not an id")


def _check_apart(store: Store) -> None:
    """8 bytes a row are held; only where two are equal are the texts compared."""
    for kind in ("patient", "image"):
        train, held_out = (_digests(store, split, kind) for split in ("train", "eval"))
        shared = set(np.intersect1d(train, held_out).tolist())
        if not shared:
            continue
        texts = {text: name for name, text in _keys(store, "train", kind) if _digest(text) in shared}
        for name, text in _keys(store, "eval", kind):
            if text in texts:
                where = f"samples {texts[text]} (train) and {name} (eval)"
                raise DataError(f"{store.folder.name}: {kind} {text} is in both halves: {where}")


def _digests(store: Store, split: str, kind: str) -> NDArray[np.uint64]:
    return np.unique(np.fromiter((_digest(text) for _, text in _keys(store, split, kind)), dtype=np.uint64))


def _keys(store: Store, split: str, kind: str) -> Iterator[tuple[str, str]]:
    """(sample id, its patient or image)."""
    columns = ("source", "patient_id") if kind == "patient" else ("sha256",)
    for row in store.rows(split, ("id", *columns)):
        yield row["id"], "/".join(row[column] for column in columns)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
