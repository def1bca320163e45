"""The policy loss: an algorithm's surrogate, weighted against staleness, held near the reference.

In: log-probabilities [N, T] of up to four policies at completion positions. Out: a scalar loss, and sums for metrics.
All arithmetic is in float32, whatever the network's dtype.

The policies: `behaviour` wrote the tokens (an engine, perhaps versions ago), `old` is the learner before this batch's
first update, the current one has the gradient, `reference` is the policy with its adapter switched off.
`old / behaviour` corrects for staleness and for the difference between engine and learner (correction.py);
`current / old` is what a clip holds near 1 (surrogate.py); `current / reference` is what the KL penalty holds (kl.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fundus_ray.config import LearnerConfig
from fundus_ray.learner.aggregation import BatchTotals
from fundus_ray.learner.algorithm import ALGORITHMS, Algorithm
from fundus_ray.learner.correction import CORRECTIONS, Correction
from fundus_ray.learner.kl import KL_ESTIMATORS
from fundus_ray.learner.mismatch import TokenSums, token_sums
from fundus_ray.learner.surrogate import Clip

LOG_RATIO_LIMIT = 20.0  # exp of more says nothing and would overflow the sums


@dataclass(frozen=True, slots=True)
class LossSettings:
    """`learner.*` as functions and numbers, each 0 that stands for a default replaced by it."""

    algorithm: Algorithm
    clip: Clip
    correction: Correction
    correction_low: float
    correction_high: float
    kl: float
    kl_estimator: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, learner: LearnerConfig) -> LossSettings:
        algorithm, correction = ALGORITHMS[learner.algorithm], CORRECTIONS[learner.correction]
        return cls(
            algorithm=algorithm,
            clip=Clip(learner.clip_low or algorithm.clip.low, learner.clip_high or algorithm.clip.high),
            correction=correction,
            correction_low=learner.correction_low or correction.low,
            correction_high=learner.correction_high or correction.high,
            kl=learner.kl,
            kl_estimator=KL_ESTIMATORS[learner.kl_estimator],
        )


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
    reference_logprobs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    totals: BatchTotals,
    settings: LossSettings,
) -> LossOutput:
    """L = - aggregation_t(w_t gain_t - kl KL_t).

    Log-probabilities [N, T] in nats, `reference_logprobs` None where settings.kl is 0; advantages [N]; mask [N, T]
    bool, true at completion tokens (what stands elsewhere is never read). `totals` are of the whole optimizer step's
    batch, so that micro-batches need no rescaling. With one update a batch, pass `logprobs.detach()` as old.

    w_t comes of the correction, gain_t and the aggregation of the algorithm, KL_t of the estimator: their sources stand
    there. Raises FloatingPointError where a log-probability is not finite.
    """
    old = old_logprobs.detach()
    moved = _log_ratio(logprobs, old, mask)
    log_rho = moved.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    mismatch = _log_ratio(old, behaviour_logprobs.detach(), mask)
    log_w = mismatch.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    weights = settings.correction.weigh(log_w, mask, settings.correction_low, settings.correction_high)
    gain = settings.algorithm.surrogate(
        torch.where(mask, logprobs.float(), 0.0), log_rho, mask, advantages.float().unsqueeze(1), settings.clip
    )
    terms, kl, log_ratios = weights.value * gain.value, None, [moved]
    if reference_logprobs is not None:
        distance = _log_ratio(logprobs, reference_logprobs.detach(), mask)
        kl = settings.kl_estimator(distance.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        log_ratios.append(distance)
        terms = terms - settings.kl * kl
    loss = -settings.algorithm.aggregation(terms, mask, totals)
    with torch.no_grad():
        sums = token_sums(
            mask,
            mismatch=mismatch,
            log_w=log_w,
            clipped=gain.clipped,
            truncated=weights.truncated,
            masked=weights.masked,
            kl=kl,
            log_ratios=log_ratios,
        )
    return LossOutput(loss=loss, sums=sums)


def _log_ratio(logprobs: Tensor, base: Tensor, mask: Tensor) -> Tensor:
    """logprobs - base at completion tokens, 0 elsewhere."""
    # Masked before any exp, not after: 0 * inf would be NaN in the gradient.
    return torch.where(mask, logprobs.float() - base.float(), 0.0)
