"""Which of very many fingerprints are near each other, without comparing all pairs.

In: fingerprints uint64 [N, 8] to search in, and others to search for. Out: pairs that differ in few bits, in any of the
four orientations.

Multi-index hashing (Norouzi, Punjani and Fleet 2012) over the first word: two words of 64 bits that differ in at most r
bits differ in at most r // 4 bits in one of their four chunks of 16 bits at least. So each chunk is a table, and only
the entries at chunks that near are compared; then the whole 512 bits decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.leaks.fingerprint import ORIENTATIONS, WORDS

Prints = NDArray[np.uint64]  # [N, 8]
Rows = NDArray[np.int64]

# Measured on drawn eyes, healthy ones above all, which look alike, and on the CC0 photograph. Copies that are scaled to
# half or twice the size, squashed, compressed to JPEG quality 30, padded, darker, turned, or several of these, differ
# in at most 46 of 512 bits (photographs) and 59 (24 OCT scans, padded), and in at most 8 of the first 64. Other eyes,
# 134,940 pairs of 520 healthy ones each, differ in at least 74 (photographs), 103 (OCT) and 142 (wide field); half as
# many bits did not tell them all from copies.
COARSE_RADIUS = 11  # most bits of the first 64 in which copies differ
RADIUS = 64  # most bits of all 512
CHUNKS, CHUNK_BITS = 4, 16
QUERIES_AT_ONCE, PAIRS_AT_ONCE = 2048, 1 << 21  # what is held in memory: about 100 MB


@dataclass(frozen=True, slots=True)
class Near:
    """Query `query` looks like entry `entry`, which is seen `orientation` in it."""

    query: int
    entry: int
    distance: int  # bits of 512
    orientation: str


class PrintIndex:
    """Fingerprints that can be searched."""

    def __init__(self, prints: Prints, *, coarse_radius: int = COARSE_RADIUS, radius: int = RADIUS) -> None:
        """prints: uint64 [N, 8]. Two are near where at most `coarse_radius` bits of the first word and at most `radius`
        of all differ."""
        self._prints = prints.reshape(-1, WORDS)
        self._coarse_radius, self._radius = coarse_radius, radius
        values = np.arange(1 << CHUNK_BITS, dtype=np.uint64)
        self._flips = values[np.bitwise_count(values) <= coarse_radius // CHUNKS].astype(np.int64)
        self._tables = [_table(_chunk(self._prints[:, 0], number)) for number in range(CHUNKS)]

    def near(self, queries: Prints) -> Iterator[Near]:
        """All near entries of `queries` uint64 [M, 8], by query, then by entry; the nearest orientation of each."""
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            part = queries[first : first + QUERIES_AT_ONCE]
            best: dict[tuple[int, int], Near] = {}
            for name, mask in ORIENTATIONS.items():
                turned = part ^ mask
                rows, entries = self._coarse(turned[:, 0])
                distances = np.bitwise_count(turned[rows] ^ self._prints[entries]).sum(axis=1)
                for at in np.flatnonzero(distances <= self._radius):
                    found = Near(first + int(rows[at]), int(entries[at]), int(distances[at]), name)
                    pair = (found.query, found.entry)
                    if pair not in best or found.distance < best[pair].distance:
                        best[pair] = found
            yield from (best[pair] for pair in sorted(best))

    def _coarse(self, words: NDArray[np.uint64]) -> tuple[Rows, Rows]:
        """(query rows, entry rows), each pair once, whose first words are within the coarse radius."""
        pairs = [np.empty(0, dtype=np.int64)]
        count = max(len(self._prints), 1)
        for number in range(CHUNKS):
            order, starts = self._tables[number]
            slots = _chunk(words, number)[:, None] ^ self._flips[None, :]  # [M, flips]
            begins, sizes = starts[slots], starts[slots + 1] - starts[slots]
            for part in _parts(sizes.sum(axis=1)):
                rows, places = _expand(begins[part], sizes[part])
                rows, entries = rows + part.start, order[places]
                near = np.bitwise_count(words[rows] ^ self._prints[entries, 0]) <= self._coarse_radius
                pairs.append(rows[near] * count + entries[near])
        return np.divmod(np.unique(np.concatenate(pairs)), count)


def _chunk(words: NDArray[np.uint64], number: int) -> Rows:
    shifted = words >> np.uint64(CHUNK_BITS * number)
    return (shifted & np.uint64((1 << CHUNK_BITS) - 1)).astype(np.int64)


def _table(chunk: Rows) -> tuple[Rows, Rows]:
    """(entries sorted by chunk, where each chunk value begins [2^16 + 1])."""
    order = np.argsort(chunk, kind="stable")
    return order, np.searchsorted(chunk[order], np.arange((1 << CHUNK_BITS) + 1))


def _parts(sizes: Rows) -> Iterator[slice]:
    """Slices of the queries that make at most PAIRS_AT_ONCE pairs; a query that makes more goes alone."""
    first, pairs = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if at > first and pairs + size > PAIRS_AT_ONCE:
            yield slice(first, at)
            first, pairs = at, 0
        pairs += size
    if first < len(sizes):
        yield slice(first, len(sizes))


def _expand(begins: Rows, sizes: Rows) -> tuple[Rows, Rows]:
    """(row, place) of every place in begins[row, i] ... begins[row, i] + sizes[row, i] - 1."""
    flat = sizes.ravel()
    rows = np.repeat(np.repeat(np.arange(len(sizes)), sizes.shape[1]), flat)
    offsets = begins.ravel() - (np.cumsum(flat) - flat)
    return rows, np.repeat(offsets, flat) + np.arange(len(rows))
