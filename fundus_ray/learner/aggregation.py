"""Aggregations: how the terms of a batch's tokens become one number.

In: terms [N, T] of some rows of a batch, mask [N, T], and the totals of the whole batch. Out: these rows' share, a
scalar; the shares of a batch's parts add up to the whole. Tokens that a correction leaves out keep their place in the
totals, so that a batch with many of them makes a smaller step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """Of all rows of an optimizer step."""

    tokens: int  # completion tokens
    sequences: int
    max_tokens: int  # longest completion allowed


Aggregation = Callable[[Tensor, Tensor, BatchTotals], Tensor]


def token_mean(terms: Tensor, mask: Tensor, totals: BatchTotals) -> Tensor:
    """sum of all terms / number of all tokens: every token counts the same. DAPO (arXiv 2503.14476, equation 8)."""
    return (terms * mask).sum() / totals.tokens


def sequence_mean(terms: Tensor, mask: Tensor, totals: BatchTotals) -> Tensor:
    """Mean over sequences of each one's mean over its tokens: every sequence counts the same, so a token of a long one
    counts less. GRPO (arXiv 2402.03300, equation 3)."""
    lengths = mask.sum(1).clamp(min=1)
    return ((terms * mask).sum(1) / lengths).sum() / totals.sequences


def sequence_sum(terms: Tensor, mask: Tensor, totals: BatchTotals) -> Tensor:
    """Mean over sequences of each one's sum: the gradient of log pi(sequence). RLOO (arXiv 2402.14740)."""
    return (terms * mask).sum() / totals.sequences


def constant_mean(terms: Tensor, mask: Tensor, totals: BatchTotals) -> Tensor:
    """Mean over sequences of each one's sum / max_tokens: no length appears, so none is favoured. Dr. GRPO (arXiv
    2503.20783, section 3.2 and listing 1, whose constant is the generation budget)."""
    return (terms * mask).sum() / (totals.sequences * totals.max_tokens)
