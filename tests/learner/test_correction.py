"""Weights of tokens whose probability has become 1/4, 1, 4 and 8 times what it was, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fundus_ray.learner.correction import CORRECTIONS, Weights


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor([[math.log(w) for w in row] for row in rows])


def weigh(name: str, log_w: Tensor, mask: Tensor | None = None) -> Weights:
    """With the correction's own bounds."""
    mask = torch.ones(log_w.shape, dtype=torch.bool) if mask is None else mask
    correction = CORRECTIONS[name]
    return correction.weigh(log_w * mask, mask, correction.low, correction.high)


@pytest.mark.parametrize(
    ("name", "value", "truncated", "masked"),
    [
        ("none", [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("tis", [0.25, 1, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]),  # cap 2
        ("icepop", [0, 1, 4, 0], [0, 0, 0, 0], [1, 0, 0, 1]),  # 0.5..5
        ("decoupled", [0.25, 1, 4, 0], [0, 0, 0, 0], [0, 0, 0, 1]),  # up to 5
        # Geometric mean (1/4 * 1 * 4 * 8) ^ (1/4) = 1.68, outside 0.99..1.01.
        ("geometric", [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]),
    ],
)
def test_weights(name: str, value: list[float], truncated: list[int], masked: list[int]) -> None:
    got = weigh(name, logs([0.25, 1.0, 4.0, 8.0]))
    assert got.value[0].tolist() == pytest.approx(value)
    assert got.truncated[0].int().tolist() == truncated
    assert got.masked[0].int().tolist() == masked


@pytest.mark.parametrize("name", sorted(CORRECTIONS))
def test_on_policy_every_weight_is_one(name: str) -> None:
    got = weigh(name, torch.zeros((2, 3)))
    assert got.value.tolist() == [[1.0] * 3] * 2
    assert not got.truncated.any()
    assert not got.masked.any()


def test_geometric_mask_keeps_or_drops_whole_sequences() -> None:
    # Geometric means 1 (kept), sqrt(1.1) = 1.049 and sqrt(0.9) = 0.949 (dropped), sqrt(1.018) = 1.009 (kept).
    got = weigh("geometric", logs([2.0, 0.5], [1.1, 1.0], [0.9, 1.0], [1.018, 1.0]))
    assert got.value.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]


def test_geometric_mean_is_over_the_sequence_s_own_tokens() -> None:
    # 1.015 at the only token is outside; with the padding counted it would be sqrt(1.015) = 1.007.
    got = weigh("geometric", logs([1.015, 3.0]), torch.tensor([[True, False]]))
    assert got.masked[0, 0]


def test_given_bounds_are_those_used() -> None:
    log_w, mask = logs([0.25, 1.0, 4.0, 8.0]), torch.ones((1, 4), dtype=torch.bool)
    assert CORRECTIONS["tis"].weigh(log_w, mask, 0.0, 5.0).value[0].tolist() == pytest.approx([0.25, 1, 4, 5])
    assert CORRECTIONS["icepop"].weigh(log_w, mask, 0.2, 9.0).value[0].tolist() == pytest.approx([0.25, 1, 4, 8])
    assert CORRECTIONS["geometric"].weigh(log_w, mask, 0.5, 2.0).value[0].tolist() == [1, 1, 1, 1]
