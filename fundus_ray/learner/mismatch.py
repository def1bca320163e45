"""The mismatch monitor: how far the policy that learns is from the one that wrote, and what clip and correction did.

In: token-wise values of a micro-batch [N, T]. Out: sums that add up over micro-batches, and metrics of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Sums over completion tokens, which add up over micro-batches (the maximum excepted). w = old / behaviour."""

    tokens: float = 0.0
    clipped: float = 0.0
    truncated: float = 0.0
    masked: float = 0.0
    abs_mismatch: float = 0.0  # |log w|, nats
    k3: float = 0.0  # w - 1 - log w
    ratio: float = 0.0  # w, not truncated
    ratio_squared: float = 0.0
    ratio_max: float = 0.0
    kl: float = 0.0  # the penalty's estimate of KL(policy || reference), nats

    def merge(self, other: TokenSums) -> TokenSums:
        """Both micro-batches together."""
        return TokenSums(
            tokens=self.tokens + other.tokens,
            clipped=self.clipped + other.clipped,
            truncated=self.truncated + other.truncated,
            masked=self.masked + other.masked,
            abs_mismatch=self.abs_mismatch + other.abs_mismatch,
            k3=self.k3 + other.k3,
            ratio=self.ratio + other.ratio,
            ratio_squared=self.ratio_squared + other.ratio_squared,
            ratio_max=max(self.ratio_max, other.ratio_max),
            kl=self.kl + other.kl,
        )

    def metrics(self) -> dict[str, float]:
        """Shares and means over the tokens; empty where there were none.

        clip_share: tokens whose gain the clip changed. truncated_share, masked_share: tokens whose weight the
        correction cut, or set to 0. mismatch/: of w as it was before the correction. mismatch/k3_kl: Schulman's k3
        estimate of KL(behaviour || old), nats. mismatch/ess: effective sample size (sum w)^2 / sum w^2, as a share of
        the tokens.
        `kl` is left to who knows whether there is a penalty.
        """
        if not self.tokens:
            return {}
        return {
            "clip_share": self.clipped / self.tokens,
            "truncated_share": self.truncated / self.tokens,
            "masked_share": self.masked / self.tokens,
            "mismatch/logprob_abs": self.abs_mismatch / self.tokens,
            "mismatch/k3_kl": self.k3 / self.tokens,
            "mismatch/ratio_mean": self.ratio / self.tokens,
            "mismatch/ratio_max": self.ratio_max,
            "mismatch/ess": self.ratio**2 / self.ratio_squared / self.tokens if self.ratio_squared else 0.0,
        }


def token_sums(
    mask: Tensor,
    *,
    mismatch: Tensor,
    log_w: Tensor,
    clipped: Tensor,
    truncated: Tensor,
    masked: Tensor,
    kl: Tensor | None,
    log_ratios: Sequence[Tensor],
) -> TokenSums:
    """All [N, T]: `mismatch` is log old - log behaviour as it is, `log_w` the same within what exp can take;
    `log_ratios` are those of the other policies as they are, which are checked only.

    Raises FloatingPointError where one of them is not finite at a completion token.
    """
    w = log_w.exp() * mask
    values = [
        mask.sum(),
        (clipped & mask).sum(),
        (truncated & mask).sum(),
        (masked & mask).sum(),
        mismatch.abs().sum(),
        ((w - 1.0 - log_w) * mask).sum(),
        w.sum(),
        (w * w).sum(),
        w.max(),
        mask.new_zeros((), dtype=torch.float32) if kl is None else (kl * mask).sum(),
        *(r.sum() for r in log_ratios),
    ]
    sums = torch.stack([v.double() for v in values]).tolist()  # one transfer from the device
    if not all(math.isfinite(v) for v in sums):
        raise FloatingPointError(f"log-probabilities of the batch are not finite: token sums {sums}")
    return TokenSums(*sums[: len(sums) - len(log_ratios)])
