"""The policy loss: clipped surrogate, token-level mean, truncated importance sampling against the behaviour policy.

In: log-probabilities [N, T] of three policies at completion positions. Out: a scalar loss, and sums for metrics.
All arithmetic is in float32, whatever the network's dtype.

Three policies (as in decoupled PPO, arXiv 2505.24298): `behaviour` wrote the tokens (an engine, perhaps versions ago),
`old` is the learner before this batch's first update, the current one has the gradient. `old / behaviour` corrects for
staleness and for the difference between engine and learner; `current / old` is what the clip holds near 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0  # exp of more says nothing and would overflow the sums


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Sums over completion tokens, which add up over micro-batches (the maximum excepted) and give the metrics."""

    tokens: float = 0.0
    clipped: float = 0.0
    truncated: float = 0.0
    abs_mismatch: float = 0.0  # |old - behaviour|, nats
    ratio: float = 0.0  # old / behaviour, not truncated
    ratio_squared: float = 0.0
    ratio_max: float = 0.0

    def merge(self, other: TokenSums) -> TokenSums:
        """Both micro-batches together."""
        return TokenSums(
            tokens=self.tokens + other.tokens,
            clipped=self.clipped + other.clipped,
            truncated=self.truncated + other.truncated,
            abs_mismatch=self.abs_mismatch + other.abs_mismatch,
            ratio=self.ratio + other.ratio,
            ratio_squared=self.ratio_squared + other.ratio_squared,
            ratio_max=max(self.ratio_max, other.ratio_max),
        )

    def metrics(self) -> dict[str, float]:
        """Shares and means over the tokens; empty where there were none.

        clip_share: tokens whose gradient the clip stopped. tis_share: tokens whose weight was truncated.
        mismatch/ess: effective sample size (sum w)^2 / sum w^2 of the untruncated weights, per token.
        """
        if not self.tokens:
            return {}
        return {
            "clip_share": self.clipped / self.tokens,
            "tis_share": self.truncated / self.tokens,
            "mismatch/logprob_abs": self.abs_mismatch / self.tokens,
            "mismatch/ratio_mean": self.ratio / self.tokens,
            "mismatch/ratio_max": self.ratio_max,
            "mismatch/ess": self.ratio**2 / self.ratio_squared / self.tokens if self.ratio_squared else 0.0,
        }


@dataclass(frozen=True, slots=True)
class LossOutput:
    """`loss`: this micro-batch's share of the batch's loss, with gradient; all micro-batches sum to the whole."""

    loss: Tensor
    sums: TokenSums


def policy_loss(
    logprobs: Tensor,
    *,
    old_logprobs: Tensor,
    behaviour_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    total_tokens: int,
    clip_low: float,
    clip_high: float,
    correction: str,
    tis_cap: float,
) -> LossOutput:
    """L = - (1 / total_tokens) sum_t w_t min(rho_t A, clip(rho_t, 1 - clip_low, 1 + clip_high) A).

    rho_t = pi(t) / pi_old(t); w_t = min(pi_old(t) / pi_behaviour(t), tis_cap) without gradient, or 1 where `correction`
    is "none". logprobs, old_logprobs, behaviour_logprobs [N, T] in nats; advantages [N]; mask [N, T] bool, true at
    completion tokens (what stands elsewhere is never read). `total_tokens`: completion tokens of the whole optimizer
    step's batch, so that micro-batches need no rescaling. With one update a batch, pass `logprobs.detach()` as old.

    The clipped surrogate is PPO's (arXiv 1707.06347); the separate upper bound, and the mean over all tokens of the
    batch rather than over sequences, are DAPO's (arXiv 2503.14476); the truncated token weight is that of Yao et al.
    2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training".
    Raises ValueError on an unknown correction, FloatingPointError where a log-probability is not finite.
    """
    if correction not in ("tis", "none"):
        raise ValueError(f"correction={correction!r} must be tis or none")
    assert total_tokens > 0
    rho = _ratio(logprobs, old_logprobs.detach(), mask)
    behaviour_ratio = _ratio(old_logprobs.detach(), behaviour_logprobs.detach(), mask)
    weights = behaviour_ratio.clamp(max=tis_cap) if correction == "tis" else torch.ones_like(behaviour_ratio)
    a = advantages.float().unsqueeze(1)
    gain = torch.minimum(rho * a, rho.clamp(1.0 - clip_low, 1.0 + clip_high) * a)
    loss = -(weights * gain * mask).sum() / total_tokens
    with torch.no_grad():
        stopped = ((a > 0) & (rho > 1.0 + clip_high)) | ((a < 0) & (rho < 1.0 - clip_low))
        truncated = behaviour_ratio > tis_cap if correction == "tis" else torch.zeros_like(mask)
        mismatch = torch.where(mask, (old_logprobs - behaviour_logprobs).float().abs(), 0.0)
        sums = _token_sums(mask, stopped=stopped, truncated=truncated, mismatch=mismatch, ratio=behaviour_ratio)
    return LossOutput(loss=loss, sums=sums)


def _ratio(logprobs: Tensor, base: Tensor, mask: Tensor) -> Tensor:
    """exp(logprobs - base) at completion tokens, 1 elsewhere."""
    # Masked before exp, not after: 0 * inf would be NaN in the gradient.
    difference = torch.where(mask, logprobs.float() - base.float(), 0.0)
    return difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _token_sums(mask: Tensor, *, stopped: Tensor, truncated: Tensor, mismatch: Tensor, ratio: Tensor) -> TokenSums:
    w = ratio * mask
    values = [
        mask.sum(),
        (stopped & mask).sum(),
        (truncated & mask).sum(),
        mismatch.sum(),
        w.sum(),
        (w * w).sum(),
        w.max(),
    ]
    sums = torch.stack([v.double() for v in values]).tolist()  # one transfer from the device
    if not all(math.isfinite(v) for v in sums):
        raise FloatingPointError(f"log-probabilities of the batch are not finite: token sums {sums}")
    return TokenSums(*sums)
