"""The images of a benchmark, as one small file that says which images must not be trained on.

In: key and image, a key being the image's path as the benchmark writes it, or its row where it lies in a table. Out:
`BenchmarkImages`, kept as Parquet (benchmark, key, fingerprint), so that who has no copy of the benchmark's images can
still keep them out.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fundus_ray.bars import Bar
from fundus_ray.data.leaks.fingerprint import FINGERPRINT_VERSION, WORDS, Words, content_fingerprint, file_fingerprint
from fundus_ray.data.leaks.neighbours import Prints
from fundus_ray.data.places import place, read_bytes
from fundus_ray.errors import DataError

PRINT = pa.binary(8 * WORDS)  # a fingerprint's bytes; null = none
_SCHEMA = pa.schema(
    [("benchmark", pa.string()), ("key", pa.string()), ("fingerprint", PRINT)],
    metadata={"fingerprint": str(FINGERPRINT_VERSION)},
)


@dataclass(frozen=True, slots=True)
class BenchmarkImages:
    """`prints[i]` is the fingerprint of the image `keys[i]`, None where it was not at hand or is flat."""

    name: str
    keys: tuple[str, ...]
    prints: tuple[Words | None, ...]


def benchmark_images(name: str, images: Iterable[tuple[str, Path | bytes | None]]) -> tuple[BenchmarkImages, int]:
    """(the benchmark's images, how many of them could not be read and so are known by key only).

    images: key, and the image as a path or as a file's content; None = not at hand.
    """
    keys: list[str] = []
    prints: list[Words | None] = []
    unread = 0
    for key, image in Bar(images, desc=f"fingerprints of {name}", unit="image", mininterval=0.5):
        keys.append(key)
        try:
            prints.append(_print(key, image))
        except DataError:
            prints.append(None)
            unread += 1
        unread += image is None
    return BenchmarkImages(name, tuple(keys), tuple(prints)), unread


def _print(key: str, image: Path | bytes | None) -> Words | None:
    if image is None:
        return None
    return content_fingerprint(image, name=key) if isinstance(image, bytes) else file_fingerprint(image)


def write_benchmarks(path: str | Path, benchmarks: Sequence[BenchmarkImages]) -> None:
    """Write or replace the file. Raises DataError where it cannot be written."""
    folder, _, file = str(path).rpartition("/")
    place(folder or ".").write(file, benchmarks_bytes(benchmarks))


def benchmarks_bytes(benchmarks: Sequence[BenchmarkImages]) -> bytes:
    """The content of such a file."""
    rows = [
        {"benchmark": one.name, "key": key, "fingerprint": print_bytes(mark)}
        for one in benchmarks
        for key, mark in zip(one.keys, one.prints, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_benchmarks(path: str | Path) -> tuple[BenchmarkImages, ...]:
    """The benchmarks of one such file. Raises DataError where it is missing or another kind of file."""
    return benchmarks_of(read_bytes(path, what="list of benchmark images"), origin=str(path))


def benchmarks_of(content: bytes, *, origin: str) -> tuple[BenchmarkImages, ...]:
    """As `read_benchmarks`, of a file's content."""
    try:
        table = pq.read_table(io.BytesIO(content))
        rows = table.select(_SCHEMA.names).to_pylist()
    except (pa.ArrowException, KeyError) as err:
        raise DataError(
            f"{origin} is not a list of benchmark images (Parquet of benchmark, key, fingerprint): "
            f"{' '.join(str(err).split())[:200]}"
        ) from None
    version = (table.schema.metadata or {}).get(b"fingerprint", b"none").decode()
    if version != str(FINGERPRINT_VERSION):
        raise DataError(
            f"{origin} holds fingerprints of version {version}, this package makes {FINGERPRINT_VERSION}; remake it "
            "(fundus-ray data benchmark)"
        )
    by_name: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_name.setdefault(str(row["benchmark"]), []).append(row)
    return tuple(
        BenchmarkImages(
            name,
            tuple(str(row["key"]) for row in own),
            tuple(print_words(row["fingerprint"]) for row in own),
        )
        for name, own in by_name.items()
    )


def print_bytes(mark: Words | None) -> bytes | None:
    """A fingerprint as it is stored."""
    return None if mark is None else mark.tobytes()


def print_words(stored: object) -> Words | None:
    """A stored fingerprint."""
    return np.frombuffer(stored, dtype=np.uint64) if isinstance(stored, bytes) else None


def stacked(prints: Iterable[Words | None]) -> tuple[Prints, NDArray[np.int64]]:
    """(those that there are [N, 8], their rows [N])."""
    held = [(row, mark) for row, mark in enumerate(prints) if mark is not None]
    words = np.array([mark for _, mark in held], dtype=np.uint64).reshape(-1, WORDS)
    return words, np.array([row for row, _ in held], dtype=np.int64)
