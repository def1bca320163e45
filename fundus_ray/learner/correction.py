"""Corrections: weights for tokens that another policy wrote than the one that learns from them.

In: log w_t = log pi_old - log pi_behaviour [N, T], 0 outside completions; `old` is the learner before the batch's
first update, `behaviour` the engine, perhaps versions ago. Out: weights [N, T] without gradient, and what they did.
The weight multiplies a surrogate that clips around `old`: three policies, as in decoupled PPO. So the corrections
differ only in what becomes of a w that is far from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """`value` [N, T]; `truncated` and `masked` [N, T] bool: weights that were cut, and set to 0."""

    value: Tensor
    truncated: Tensor
    masked: Tensor


@dataclass(frozen=True, slots=True)
class Correction:
    """`weigh(log_w, mask, low, high)`; `low` and `high` are the bounds where the configuration gives none."""

    weigh: Callable[[Tensor, Tensor, float, float], Weights]
    low: float
    high: float


def uncorrected(log_w: Tensor, mask: Tensor, low: float, high: float) -> Weights:
    """1: the behaviour policy is taken for the learner."""
    none = torch.zeros_like(mask)
    return Weights(value=torch.ones_like(log_w), truncated=none, masked=none)


def truncated_importance(log_w: Tensor, mask: Tensor, low: float, high: float) -> Weights:
    """min(w_t, high): token TIS, Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
    Training"."""
    w = log_w.exp()
    return Weights(value=w.clamp(max=high), truncated=w > high, masked=torch.zeros_like(mask))


def icepop(log_w: Tensor, mask: Tensor, low: float, high: float) -> Weights:
    """w_t where low <= w_t <= high, else 0: IcePop (Ring-1T, arXiv 2510.18855, the function M of its objective)."""
    w = log_w.exp()
    masked = (w < low) | (w > high)
    return Weights(value=w.masked_fill(masked, 0.0), truncated=torch.zeros_like(mask), masked=masked)


def geometric_mask(log_w: Tensor, mask: Tensor, low: float, high: float) -> Weights:
    """1 for every token of a sequence where low <= exp(mean_t log w_t) <= high, else 0: the geometric sequence mask of
    the corrections in SkyRL and verl, whose range 0.99..1.01 this is. A whole chain is left out once its tokens have
    drifted on average; what is left in has no weight of its own."""
    mean = log_w.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    g = mean.exp()
    masked = ((g < low) | (g > high)).expand_as(mask)
    return Weights(
        value=torch.ones_like(log_w).masked_fill(masked, 0.0), truncated=torch.zeros_like(mask), masked=masked
    )


def decoupled(log_w: Tensor, mask: Tensor, low: float, high: float) -> Weights:
    """w_t, or 0 where w_t > high: decoupled PPO (AReaL, arXiv 2505.24298). The paper's w has no bound; its
    released code leaves out tokens beyond a cap, which stands here for the few that would outweigh all others."""
    w = log_w.exp()
    return Weights(value=w.masked_fill(w > high, 0.0), truncated=torch.zeros_like(mask), masked=w > high)


INF = float("inf")
CORRECTIONS: dict[str, Correction] = {
    "none": Correction(uncorrected, low=0.0, high=INF),
    "tis": Correction(truncated_importance, low=0.0, high=2.0),
    "icepop": Correction(icepop, low=0.5, high=5.0),
    "geometric": Correction(geometric_mask, low=0.99, high=1.01),
    "decoupled": Correction(decoupled, low=0.0, high=5.0),
}
