"""The monitor's numbers on two tokens, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fundus_ray.learner.mismatch import TokenSums, token_sums

YES, NO = torch.tensor([[True, False]]), torch.tensor([[False, False]])


def sums(*ratios: float, mask: torch.Tensor | None = None, **changed: torch.Tensor) -> TokenSums:
    log_w = torch.tensor([[math.log(r) for r in ratios]])
    mask = torch.ones(log_w.shape, dtype=torch.bool) if mask is None else mask
    flags = {"clipped": NO, "truncated": NO, "masked": NO, **changed}
    return token_sums(mask, mismatch=log_w * mask, log_w=log_w * mask, kl=None, log_ratios=[], **flags)


def test_metrics_of_ratios_a_half_and_four() -> None:
    # |log w| = 0.6931 and 1.3863. k3: 0.5 - 1 + 0.6931 = 0.1931 and 4 - 1 - 1.3863 = 1.6137. ESS: 4.5^2 / 16.25 / 2.
    assert sums(0.5, 4.0, truncated=~YES, clipped=YES).metrics() == pytest.approx(
        {
            "clip_share": 0.5,
            "truncated_share": 0.5,
            "masked_share": 0.0,
            "mismatch/logprob_abs": 1.0397208,
            "mismatch/k3_kl": 0.9034264,
            "mismatch/ratio_mean": 2.25,
            "mismatch/ratio_max": 4.0,
            "mismatch/ess": 0.6230769,
        }
    )


def test_what_stands_outside_completions_is_not_counted() -> None:
    alone = sums(0.5, 4.0, mask=YES, masked=torch.tensor([[True, True]]))
    assert (alone.tokens, alone.masked, alone.ratio_max) == (1.0, 1.0, 0.5)
    assert alone.k3 == pytest.approx(0.1931472)


def test_kl_is_summed_over_completion_tokens() -> None:
    zeros = torch.zeros((1, 2))
    got = token_sums(
        YES,
        mismatch=zeros,
        log_w=zeros,
        clipped=NO,
        truncated=NO,
        masked=NO,
        kl=torch.tensor([[0.25, 7.0]]),
        log_ratios=[],
    )
    assert got.kl == 0.25


def test_sums_of_no_tokens_give_no_metrics() -> None:
    assert TokenSums().metrics() == {}


def test_merged_sums_add_and_keep_the_larger_maximum() -> None:
    merged = sums(0.5, 4.0).merge(sums(1.0, 2.0))
    assert (merged.tokens, merged.ratio, merged.ratio_squared, merged.ratio_max) == pytest.approx((4, 7.5, 21.25, 4))
