"""What a store holds: counts, hashes, licences. Written last, so a folder without one is no store.

In: `manifest.json`. Out: a checked `Manifest`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fundus_ray.data.places import Place
from fundus_ray.errors import DataError

MANIFEST, BENCHMARKS = "manifest.json", "benchmarks.parquet"
FORMAT = 3
SPLITS = ("train", "eval")


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file, of one half."""

    file: str
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`content` changes with any row of the store, or their order. counts: "rows", "images", "patients", and rows by
    "split", "source", "task", "modality". benchmarks: name -> images that the store was cleared of."""

    format: int
    content: str
    image_root: str
    rows_a_group: int
    counts: Mapping[str, Any]
    licences: Mapping[str, str]  # source -> licence
    benchmarks: Mapping[str, int]
    shards: tuple[Shard, ...]

    def of(self, split: str) -> tuple[Shard, ...]:
        """The shards of one half, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)


def content_hash(shards: Sequence[Shard]) -> str:
    """Over the hashes of the shards, in order."""
    return hashlib.sha256("".join(f"{shard.file} {shard.sha256}\n" for shard in shards).encode()).hexdigest()


def write_manifest(folder: Place, manifest: Manifest) -> None:
    """Makes the folder a store. Raises DataError where it cannot be written."""
    folder.write(MANIFEST, (json.dumps(asdict(manifest), ensure_ascii=False, indent=2) + "\n").encode())


def read_manifest(folder: Place) -> Manifest:
    """Raises DataError where the folder is no whole store: no manifest, or a shard is missing or of another size."""
    if folder.size(MANIFEST) is None:
        raise DataError(
            f"{folder.name} is not a store: it has no {MANIFEST}, which is written last; an import that stopped early "
            "is to be run again"
        )
    manifest = _parsed(folder.read(MANIFEST), name=f"{folder.name}/{MANIFEST}")
    for shard in manifest.shards:
        size = folder.size(shard.file)
        if size != shard.bytes:
            found = "is missing" if size is None else f"has {size} bytes, not {shard.bytes}"
            raise DataError(f"{folder.name}/{shard.file} {found}; copy the store again, or write it again")
    return manifest


def verify_shards(folder: Place, manifest: Manifest) -> None:
    """Reads every byte. Raises DataError naming the first shard that is not as it was written."""
    for shard in manifest.shards:
        if hashlib.sha256(folder.read(shard.file)).hexdigest() != shard.sha256:
            raise DataError(f"{folder.name}/{shard.file} has changed since it was written (its sha256 differs)")
    if content_hash(manifest.shards) != manifest.content:
        raise DataError(f"{folder.name}/{MANIFEST} has changed: its content hash is not that of its shards")


def _parsed(text: bytes, *, name: str) -> Manifest:
    try:
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise DataError(f"{name} is of format {fields['format']!r}; this version reads {FORMAT}")
        return Manifest(**{**fields, "shards": tuple(Shard(**shard) for shard in fields["shards"])})
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(f"{name} is not a manifest: {err!r}") from None
