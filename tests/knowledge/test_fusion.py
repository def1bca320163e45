"""Ties have one order, and fusion is reciprocal rank fusion."""

from __future__ import annotations

import pytest

from fundus_ray.knowledge.fusion import best_first, fuse


def test_equal_scores_are_ordered_by_key() -> None:
    assert best_first([("b", 1.0), ("a", 1.0), ("c", 2.0)]) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]


def test_scores_that_differ_by_rounding_only_are_equal() -> None:
    assert [key for key, _ in best_first([("b", 3.000001), ("a", 3.0)])] == ["a", "b"]
    assert [key for key, _ in best_first([("b", 3.001), ("a", 3.0)])] == ["b", "a"]


def test_fusion_adds_reciprocal_ranks() -> None:
    fused = dict(fuse([["a", "b"], ["b", "c"]]))
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})
    assert [key for key, _ in fuse([["a", "b"], ["b", "c"]])] == ["b", "a", "c"]


def test_fusion_breaks_ties_by_key_whatever_the_order_of_rankings() -> None:
    assert [key for key, _ in fuse([["b"], ["a"]])] == ["a", "b"] == [key for key, _ in fuse([["a"], ["b"]])]


def test_a_single_ranking_keeps_its_order() -> None:
    assert [key for key, _ in fuse([["c", "a", "b"]])] == ["c", "a", "b"]
