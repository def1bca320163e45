"""Surrogates on one row of two tokens, values and gradients by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fundus_ray.learner.surrogate import Clip, Gain, Surrogate, sequence_clip, token_clip, unclipped, weight_clip

LOGPROBS = torch.tensor([[math.log(0.8), math.log(0.1)]])


def run(
    surrogate: Surrogate, *rho: float, a: float, clip: Clip, mask: Tensor | None = None
) -> tuple[Gain, list[float]]:
    """The gain at these ratios, and the gradient of the gains' sum by the log-probabilities."""
    mask = torch.ones((1, len(rho)), dtype=torch.bool) if mask is None else mask
    logprobs = LOGPROBS[:, : len(rho)].clone().requires_grad_()
    old = LOGPROBS[:, : len(rho)] - torch.tensor([[math.log(r) for r in rho]])
    gain = surrogate(logprobs, (logprobs - old) * mask, mask, torch.tensor([[a]]), clip)
    (gain.value * mask).sum().backward()
    assert logprobs.grad is not None
    return gain, logprobs.grad[0].tolist()


@pytest.mark.parametrize("surrogate", [token_clip, unclipped, sequence_clip, weight_clip])
def test_at_ratio_one_the_gradient_is_the_advantage(surrogate: Surrogate) -> None:
    gain, gradient = run(surrogate, 1.0, 1.0, a=1.5, clip=Clip(0.2, 0.2))
    assert gradient == pytest.approx([1.5, 1.5])
    assert not gain.clipped.any()


def test_token_clip_keeps_the_smaller_of_gain_and_clipped_gain() -> None:
    # A = 2: min(3, 1.28 * 2) and min(1, 0.8 * 2); only the first has lost its gradient.
    gain, gradient = run(token_clip, 1.5, 0.5, a=2.0, clip=Clip(0.2, 0.28))
    assert gain.value[0].tolist() == pytest.approx([2.56, 1.0])
    assert gradient == pytest.approx([0.0, 1.0])
    assert gain.clipped[0].tolist() == [True, False]
    # A = -2: min(-3, -2.56) and min(-1, -1.6).
    gain, gradient = run(token_clip, 1.5, 0.5, a=-2.0, clip=Clip(0.2, 0.28))
    assert gain.value[0].tolist() == pytest.approx([-3.0, -1.6])
    assert gradient == pytest.approx([-3.0, 0.0])
    assert gain.clipped[0].tolist() == [False, True]


def test_unclipped_is_the_ratio_times_the_advantage_however_large() -> None:
    gain, gradient = run(unclipped, 30.0, 0.5, a=2.0, clip=Clip(0.2, 0.2))
    assert gain.value[0].tolist() == pytest.approx([60.0, 1.0])
    assert gradient == pytest.approx([60.0, 1.0])
    assert not gain.clipped.any()


def test_sequence_ratio_is_the_geometric_mean_of_its_tokens() -> None:
    # sqrt(1.44 * 1) = 1.2, A = -2: min(-2.4, -2.2) = -2.4 at both tokens. d/dlogp_t of s A is s A / 2 a token, and both
    # tokens carry it: -2.4 each.
    gain, gradient = run(sequence_clip, 1.44, 1.0, a=-2.0, clip=Clip(0.1, 0.1))
    assert gain.value[0].tolist() == pytest.approx([-2.4, -2.4])
    assert gradient == pytest.approx([-2.4, -2.4])
    assert not gain.clipped.any()


def test_sequence_is_clipped_as_a_whole() -> None:
    # s = 1.2, A = 2: min(2.4, 1.1 * 2).
    gain, gradient = run(sequence_clip, 1.44, 1.0, a=2.0, clip=Clip(0.1, 0.1))
    assert gain.value[0].tolist() == pytest.approx([2.2, 2.2])
    assert gradient == [0.0, 0.0]
    assert gain.clipped.all()


def test_sequence_ratio_does_not_clip_tokens_that_cancel() -> None:
    gain, _ = run(sequence_clip, 2.0, 0.5, a=2.0, clip=Clip(3e-4, 4e-4))
    assert gain.value[0].tolist() == pytest.approx([2.0, 2.0])


def test_sequence_ratio_is_over_its_own_tokens_alone() -> None:
    # One token of ratio 1.2 beside padding: s = 1.2, not sqrt(1.2).
    gain, _ = run(sequence_clip, 1.2, 5.0, a=-1.0, clip=Clip(0.1, 0.1), mask=torch.tensor([[True, False]]))
    assert gain.value[0, 0].item() == pytest.approx(-1.2)


def test_weight_clip_bounds_the_weight_and_keeps_the_gradient() -> None:
    # Weights clip(8) = 5 and 0.5; value = weight A log pi; gradient = weight A.
    gain, gradient = run(weight_clip, 8.0, 0.5, a=2.0, clip=Clip(1.0, 4.0))
    assert gain.value[0].tolist() == pytest.approx([10 * math.log(0.8), math.log(0.1)])
    assert gradient == pytest.approx([10.0, 1.0])
    assert gain.clipped[0].tolist() == [True, False]


def test_weight_clip_has_a_lower_bound_where_one_is_set() -> None:
    gain, gradient = run(weight_clip, 8.0, 0.5, a=2.0, clip=Clip(0.2, 4.0))
    assert gradient == pytest.approx([10.0, 1.6])
    assert gain.clipped.all()
