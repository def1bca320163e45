"""The search finds what comparing all pairs finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.data.leaks import neighbours
from fundus_ray.data.leaks.fingerprint import ORIENTATIONS, WORDS
from fundus_ray.data.leaks.neighbours import PrintIndex, Prints


def flipped(prints: Prints, *, most: int, seed: int) -> Prints:
    """Each with up to `most` bits changed in every word."""
    rng = np.random.default_rng(seed)
    changed = prints.copy()
    for row in changed:
        for word in range(WORDS):
            bits = rng.choice(64, size=rng.integers(most + 1), replace=False)
            row[word] ^= np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0))
    return changed


def drawn(count: int, seed: int) -> Prints:
    return np.random.default_rng(seed).integers(0, 2**64, size=(count, WORDS), dtype=np.uint64)


def all_pairs(entries: Prints, queries: Prints, *, coarse: int, radius: int) -> set[tuple[int, int]]:
    found = set()
    for q, query in enumerate(queries):
        for e, entry in enumerate(entries):
            for mask in ORIENTATIONS.values():
                bits = np.bitwise_count(query ^ mask ^ entry)
                if bits[0] <= coarse and bits.sum() <= radius:
                    found.add((q, e))
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), coarse=st.integers(0, 13))
def test_as_all_pairs(seed: int, coarse: int) -> None:
    entries = drawn(40, seed)
    queries = np.concatenate([flipped(entries, most=20, seed=seed + 1), drawn(10, seed + 2)])
    expected = all_pairs(entries, queries, coarse=coarse, radius=100)
    assert {(n.query, n.entry) for n in PrintIndex(entries, coarse_radius=coarse, radius=100).near(queries)} == expected


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = np.repeat(drawn(3, 0), 30, axis=0)  # so that one query has many entries
    queries = flipped(entries, most=3, seed=1)
    whole = list(PrintIndex(entries).near(queries))
    monkeypatch.setattr(neighbours, "PAIRS_AT_ONCE", 7)
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 11)
    assert list(PrintIndex(entries).near(queries)) == whole
    assert len(whole) == 90 * 30


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_turned_copy_is_found_and_named(name: str) -> None:
    entries = drawn(20, 3)
    (near,) = PrintIndex(entries).near((entries[7] ^ ORIENTATIONS[name])[None])
    assert (near.query, near.entry, near.distance, near.orientation) == (0, 7, 0, name)


def test_bits_beyond_the_first_word_decide_too() -> None:
    entries = drawn(1, 4)
    other = entries.copy()
    other[0, 1:] = drawn(1, 5)[0, 1:]
    assert list(PrintIndex(entries).near(other)) == []


def test_nothing_to_search_in_or_for() -> None:
    empty = drawn(0, 0)
    assert list(PrintIndex(empty).near(drawn(5, 0))) == []
    assert list(PrintIndex(drawn(5, 0)).near(empty)) == []
