"""Surrogates: what is maximised, token by token.

In: log-probabilities [N, T] under the policy that has the gradient, log rho = log pi - log pi_old [N, T] (`old` is the
policy before the batch's first update), advantages [N, 1]. Both are 0 outside completions. Out: gains [N, T].
With one update a batch rho is 1, and the gradient of each of these is A grad log pi.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Gain:
    """`value` [N, T] with gradient; `clipped` [N, T] bool: tokens whose gain the clip changed."""

    value: Tensor
    clipped: Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """A ratio is held within [1 - low, 1 + high]."""

    low: float
    high: float

    def __call__(self, ratio: Tensor) -> Tensor:
        return ratio.clamp(1.0 - self.low, 1.0 + self.high)

    def stops(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        """Where min(ratio A, clip(ratio) A) is the clipped one, which has no gradient."""
        return ((advantages > 0) & (ratio > 1.0 + self.high)) | ((advantages < 0) & (ratio < 1.0 - self.low))


Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor, Clip], Gain]  # logprobs, log_ratio, mask, advantages, clip


def token_clip(logprobs: Tensor, log_ratio: Tensor, mask: Tensor, advantages: Tensor, clip: Clip) -> Gain:
    """min(rho_t A, clip(rho_t) A): PPO (arXiv 1707.06347, equation 7); own bounds above and below: DAPO's clip-higher
    (arXiv 2503.14476, equation 10)."""
    rho = log_ratio.exp()
    value = torch.minimum(rho * advantages, clip(rho) * advantages)
    return Gain(value=value, clipped=clip.stops(rho, advantages))


def unclipped(logprobs: Tensor, log_ratio: Tensor, mask: Tensor, advantages: Tensor, clip: Clip) -> Gain:
    """rho_t A: REINFORCE, as RLOO has it (arXiv 2402.14740), whose gradient it is at rho = 1. In later
    mini-batches of a batch rho is the token's importance weight. Nothing is clipped."""
    return Gain(value=log_ratio.exp() * advantages, clipped=torch.zeros_like(mask))


def sequence_clip(logprobs: Tensor, log_ratio: Tensor, mask: Tensor, advantages: Tensor, clip: Clip) -> Gain:
    """min(s A, clip(s) A) at each token of a sequence, s = exp(mean_t log rho_t): GSPO (arXiv 2507.18071, equations 5
    and 7). The mean over a sequence's tokens is the sequence's own gain again."""
    length = mask.sum(1, keepdim=True).clamp(min=1)
    s = (log_ratio.sum(1, keepdim=True) / length).exp()
    value = torch.minimum(s * advantages, clip(s) * advantages)
    return Gain(value=value.expand_as(log_ratio), clipped=clip.stops(s, advantages).expand_as(mask))


def weight_clip(logprobs: Tensor, log_ratio: Tensor, mask: Tensor, advantages: Tensor, clip: Clip) -> Gain:
    """sg(clip(rho_t)) A log pi_t, sg = without gradient: CISPO (MiniMax-M1, arXiv 2506.13585, equations 4 and 5). The
    clip bounds a token's weight and never takes its gradient away."""
    rho = log_ratio.detach().exp()
    weight = clip(rho)
    return Gain(value=weight * advantages * logprobs, clipped=weight != rho)
