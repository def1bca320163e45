"""The policy loss on two tokens, by hand; and its gradient against a number derived on paper."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fundus_ray.learner.loss import LossOutput, TokenSums, policy_loss

SETTINGS: dict[str, Any] = {"clip_low": 0.2, "clip_high": 0.28, "correction": "tis", "tis_cap": 2.0}


def loss_of(
    current: Tensor, old: Tensor, behaviour: Tensor, advantages: list[float], mask: Tensor | None = None, **changed: Any
) -> LossOutput:
    mask = torch.ones(current.shape, dtype=torch.bool) if mask is None else mask
    settings: dict[str, Any] = {**SETTINGS, "total_tokens": int(mask.sum()), **changed}
    return policy_loss(
        current,
        old_logprobs=old,
        behaviour_logprobs=behaviour,
        advantages=torch.tensor(advantages),
        mask=mask,
        **settings,
    )


def logs(*ratios: float) -> Tensor:
    """One row of log-probabilities whose ratios to zeros are these."""
    return torch.tensor([[math.log(r) for r in ratios]])


def test_on_policy_loss_is_minus_the_advantage() -> None:
    at = logs(0.5, 0.25)
    out = loss_of(at, at, at, [1.5])
    assert out.loss.item() == pytest.approx(-1.5)
    assert out.sums.metrics() == pytest.approx(
        {
            "clip_share": 0.0,
            "tis_share": 0.0,
            "mismatch/logprob_abs": 0.0,
            "mismatch/ratio_mean": 1.0,
            "mismatch/ratio_max": 1.0,
            "mismatch/ess": 1.0,
        }
    )


def test_positive_advantage_is_clipped_at_one_plus_clip_high_only() -> None:
    # rho = 1.5 and 0.5, A = 2: min(3, 1.28 * 2) = 2.56 and min(1, 0.8 * 2) = 1; -(2.56 + 1) / 2 = -1.78.
    out = loss_of(logs(1.5, 0.5), logs(1.0, 1.0), logs(1.0, 1.0), [2.0])
    assert out.loss.item() == pytest.approx(-1.78)
    assert out.sums.metrics()["clip_share"] == 0.5


def test_negative_advantage_is_clipped_at_one_minus_clip_low_only() -> None:
    # A = -2: min(-3, -2.56) = -3 and min(-1, -1.6) = -1.6; -(-4.6) / 2 = 2.3.
    out = loss_of(logs(1.5, 0.5), logs(1.0, 1.0), logs(1.0, 1.0), [-2.0])
    assert out.loss.item() == pytest.approx(2.3)
    assert out.sums.metrics()["clip_share"] == 0.5


def test_behaviour_weight_multiplies_and_is_truncated_at_the_cap() -> None:
    # old / behaviour = 0.5 and 4, cap 2: weights 0.5 and 2; rho = 1, A = 3: -(1.5 + 6) / 2 = -3.75.
    old, behaviour = logs(0.2, 0.4), logs(0.4, 0.1)
    out = loss_of(old, old, behaviour, [3.0])
    assert out.loss.item() == pytest.approx(-3.75)
    # |log 0.5| = 0.6931, |log 4| = 1.3863: mean 1.0397. Effective sample (4.5)^2 / (0.25 + 16) = 1.2462 of 2 tokens.
    assert out.sums.metrics() == pytest.approx(
        {
            "clip_share": 0.0,
            "tis_share": 0.5,
            "mismatch/logprob_abs": 1.0397208,
            "mismatch/ratio_mean": 2.25,
            "mismatch/ratio_max": 4.0,
            "mismatch/ess": 0.6230769,
        }
    )


def test_without_correction_the_behaviour_is_measured_but_not_used() -> None:
    old, behaviour = logs(0.2, 0.4), logs(0.4, 0.1)
    out = loss_of(old, old, behaviour, [3.0], correction="none")
    assert out.loss.item() == pytest.approx(-3.0)
    assert out.sums.metrics()["tis_share"] == 0.0
    assert out.sums.metrics()["mismatch/ratio_max"] == pytest.approx(4.0)


def test_gradient_is_minus_weight_times_ratio_times_advantage_over_tokens() -> None:
    # d/dlogp of -(w rho A)/n is -(w rho A)/n. w = 0.5, 2 (cap); rho = 1.1, 0.9; A = 3; n = 2: -0.825 and -2.7.
    current = logs(0.2 * 1.1, 0.4 * 0.9).requires_grad_()
    loss_of(current, logs(0.2, 0.4), logs(0.4, 0.1), [3.0]).loss.backward()
    assert current.grad is not None
    assert current.grad[0].tolist() == pytest.approx([-0.825, -2.7])


def test_gradient_reaches_the_logits_as_policy_gradient_by_hand() -> None:
    # Two tokens to choose from with logits (0, log 3): p = 1/4, 3/4. The first was chosen, A = 2, on-policy, one token.
    # d(-A log p_0)/dlogits = -A (onehot - p) = -2 * (3/4, -3/4) = (-1.5, 1.5).
    logits = torch.tensor([0.0, math.log(3.0)], requires_grad=True)
    current = torch.log_softmax(logits, dim=0)[:1].unsqueeze(0)
    loss_of(current, current.detach(), current.detach(), [2.0]).loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-1.5, 1.5])


def test_clipped_token_has_no_gradient() -> None:
    current = logs(1.5, 1.0).requires_grad_()
    loss_of(current, logs(1.0, 1.0), logs(1.0, 1.0), [1.0]).loss.backward()
    assert current.grad is not None
    assert current.grad[0].tolist() == pytest.approx([0.0, -0.5])


def test_old_policy_gets_no_gradient_where_it_is_the_same_tensor() -> None:
    same = logs(0.5, 0.5).requires_grad_()
    loss_of(same, same, logs(0.25, 0.5), [1.0]).loss.backward()
    assert same.grad is not None
    assert same.grad[0].tolist() == pytest.approx([-1.0, -0.5])  # weights 2 and 1, over two tokens


def test_masked_positions_are_never_read_even_where_they_are_infinite() -> None:
    mask = torch.tensor([[False, True, True]])
    inf = float("inf")
    current = torch.tensor([[-inf, -0.5, -0.5]], requires_grad=True)
    out = loss_of(current, torch.tensor([[inf, -0.5, -0.5]]), torch.tensor([[0.0, -0.5, -0.5]]), [1.0], mask)
    out.loss.backward()
    assert out.loss.item() == pytest.approx(-1.0)
    assert current.grad is not None
    assert current.grad[0].tolist() == pytest.approx([0.0, -0.5, -0.5])
    assert out.sums.tokens == 2


def test_every_token_counts_the_same_in_long_and_short_rows() -> None:
    # Three tokens at A = 1 and one at A = -1: -(3 - 1) / 4 = -0.5; a mean over rows would give 0.
    at = torch.full((2, 3), -1.0)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert loss_of(at, at, at, [1.0, -1.0], mask).loss.item() == pytest.approx(-0.5)


def test_micro_batches_sum_to_the_whole_batch_in_loss_gradient_and_metrics() -> None:
    generator = torch.Generator().manual_seed(3)
    current, old, behaviour = (-3.0 * torch.rand((5, 7), generator=generator) for _ in range(3))
    mask = torch.arange(7) < torch.tensor([7, 1, 3, 5, 2]).unsqueeze(1)
    advantages = [1.0, -0.5, 0.3, -2.0, 0.7]
    whole_input = current.clone().requires_grad_()
    whole = loss_of(whole_input, old, behaviour, advantages, mask)
    whole.loss.backward()
    parts_input = current.clone().requires_grad_()
    sums, total = TokenSums(), 0.0
    for rows in ([0, 1], [2], [3, 4]):
        part = loss_of(
            parts_input[rows], old[rows], behaviour[rows], [advantages[i] for i in rows], mask[rows], total_tokens=18
        )
        part.loss.backward()
        total += part.loss.item()
        sums = sums.merge(part.sums)
    assert whole.sums.tokens == 18
    assert 0 < whole.sums.clipped < 18
    assert 0 < whole.sums.truncated < 18
    assert total == pytest.approx(whole.loss.item(), rel=1e-5)
    torch.testing.assert_close(parts_input.grad, whole_input.grad)
    assert sums.metrics() == pytest.approx(whole.sums.metrics(), rel=1e-6)


def test_bfloat16_logprobs_are_compared_in_float32() -> None:
    current = logs(0.5, 0.25).to(torch.bfloat16)
    assert loss_of(current, current, current, [1.0]).loss.dtype is torch.float32


def test_logprob_that_is_not_finite_at_a_token_is_refused() -> None:
    at = torch.tensor([[math.nan, -1.0]])
    with pytest.raises(FloatingPointError, match="not finite"):
        loss_of(at, at, at, [1.0])


def test_unknown_correction_is_refused() -> None:
    at = logs(0.5)
    with pytest.raises(ValueError, match="tis or none"):
        loss_of(at, at, at, [1.0], correction="icepop")


def test_sums_of_no_tokens_give_no_metrics() -> None:
    assert TokenSums().metrics() == {}
