"""The policy loss on two tokens, by hand; its gradient against a number derived on paper; and how its parts join."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fundus_ray.config import load
from fundus_ray.learner.aggregation import BatchTotals
from fundus_ray.learner.algorithm import ALGORITHMS
from fundus_ray.learner.correction import CORRECTIONS
from fundus_ray.learner.loss import LossOutput, LossSettings, policy_loss
from fundus_ray.learner.mismatch import TokenSums

MAX_TOKENS = 10


def settings_of(*changed: str) -> LossSettings:
    return LossSettings.of(load(None, ["loop.async_ratio=0", *changed]).learner)


def loss_of(
    current: Tensor,
    old: Tensor,
    behaviour: Tensor,
    advantages: list[float],
    mask: Tensor | None = None,
    changed: Sequence[str] = (),
    totals: BatchTotals | None = None,
    reference: Tensor | None = None,
) -> LossOutput:
    mask = torch.ones(current.shape, dtype=torch.bool) if mask is None else mask
    own = BatchTotals(tokens=int(mask.sum()), sequences=len(mask), max_tokens=MAX_TOKENS)
    return policy_loss(
        current,
        old_logprobs=old,
        behaviour_logprobs=behaviour,
        reference_logprobs=reference,
        advantages=torch.tensor(advantages),
        mask=mask,
        totals=totals or own,
        settings=settings_of(*changed),
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
            "truncated_share": 0.0,
            "masked_share": 0.0,
            "mismatch/logprob_abs": 0.0,
            "mismatch/k3_kl": 0.0,
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
            "truncated_share": 0.5,
            "masked_share": 0.0,
            "mismatch/logprob_abs": 1.0397208,
            "mismatch/k3_kl": 0.9034264,
            "mismatch/ratio_mean": 2.25,
            "mismatch/ratio_max": 4.0,
            "mismatch/ess": 0.6230769,
        }
    )


def test_without_correction_the_behaviour_is_measured_but_not_used() -> None:
    old, behaviour = logs(0.2, 0.4), logs(0.4, 0.1)
    out = loss_of(old, old, behaviour, [3.0], changed=["learner.correction=none"])
    assert out.loss.item() == pytest.approx(-3.0)
    assert out.sums.metrics()["truncated_share"] == 0.0
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


def random_batch() -> tuple[list[Tensor], Tensor, list[float]]:
    """Log-probabilities of current, old, behaviour and reference; mask; advantages."""
    generator = torch.Generator().manual_seed(3)
    policies = [-3.0 * torch.rand((5, 7), generator=generator) for _ in range(4)]
    mask = torch.arange(7) < torch.tensor([7, 1, 3, 5, 2]).unsqueeze(1)
    return policies, mask, [1.0, -0.5, 0.3, -2.0, 0.7]


def test_default_is_bit_for_bit_the_loss_written_out() -> None:
    # GRPO's clipped surrogate with DAPO's upper bound, token TIS at 2, and the mean over the batch's tokens.
    (current, old, behaviour, _), mask, advantages = random_batch()
    ours, plain = current.clone().requires_grad_(), current.clone().requires_grad_()
    loss_of(ours, old, behaviour, advantages, mask).loss.backward()
    rho = torch.where(mask, plain - old, 0.0).exp()
    w = torch.where(mask, old - behaviour, 0.0).exp().clamp(max=2.0)
    a = torch.tensor(advantages).unsqueeze(1)
    loss = -(w * torch.minimum(rho * a, rho.clamp(0.8, 1.28) * a) * mask).sum() / 18
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(loss_of(ours, old, behaviour, advantages, mask).loss, loss)
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.equal(ours.grad, plain.grad)


@pytest.mark.parametrize("correction", sorted(CORRECTIONS))
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_micro_batches_sum_to_the_whole_batch_in_loss_gradient_and_metrics(algorithm: str, correction: str) -> None:
    (current, old, behaviour, reference), mask, advantages = random_batch()
    changed = [f"learner.algorithm={algorithm}", f"learner.correction={correction}", "learner.kl=0.1"]
    totals = BatchTotals(tokens=18, sequences=5, max_tokens=MAX_TOKENS)
    whole_input = current.clone().requires_grad_()
    whole = loss_of(whole_input, old, behaviour, advantages, mask, changed, reference=reference)
    whole.loss.backward()
    parts_input = current.clone().requires_grad_()
    sums, total = TokenSums(), 0.0
    for rows in ([0, 1], [2], [3, 4]):
        part = loss_of(
            parts_input[rows],
            old[rows],
            behaviour[rows],
            [advantages[i] for i in rows],
            mask[rows],
            changed,
            totals=totals,
            reference=reference[rows],
        )
        part.loss.backward()
        total += part.loss.item()
        sums = sums.merge(part.sums)
    assert whole.sums.tokens == 18
    assert 0 < whole.sums.clipped < 18 or algorithm in ("rloo", "gspo")
    assert whole.sums.truncated + whole.sums.masked > 0 or correction == "none"
    assert total == pytest.approx(whole.loss.item(), rel=1e-5)
    torch.testing.assert_close(parts_input.grad, whole_input.grad)
    assert sums.metrics() == pytest.approx(whole.sums.metrics(), rel=1e-6)
    assert sums.kl == pytest.approx(whole.sums.kl, rel=1e-6)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_infinite_logprobs_outside_completions_reach_no_algorithm(algorithm: str) -> None:
    mask = torch.tensor([[False, True, True]])
    current = torch.tensor([[-math.inf, -0.5, -0.5]], requires_grad=True)
    stale = torch.tensor([[math.inf, -0.5, -0.5]])
    out = loss_of(
        current, stale, stale, [1.0], mask, [f"learner.algorithm={algorithm}", "learner.kl=1"], reference=stale
    )
    out.loss.backward()
    assert math.isfinite(out.loss.item())
    assert current.grad is not None
    assert current.grad[0, 0].item() == 0.0
    assert current.grad[0, 1].item() == current.grad[0, 2].item() < 0


def test_kl_penalty_is_added_to_the_loss_with_its_weight() -> None:
    # On-policy, A = 1: gain 1. d = log 2 and 0 against the reference; k2 = 0.2402, 0: -1 + 0.5 * 0.2402 / 2 = -0.93994.
    at = logs(0.5, 0.25)
    out = loss_of(at, at, at, [1.0], None, ["learner.kl=0.5", "learner.kl_estimator=k2"], reference=logs(0.25, 0.25))
    assert out.loss.item() == pytest.approx(-0.9399433)
    assert out.sums.kl == pytest.approx(0.2402265)


def test_masked_tokens_keep_their_place_in_the_mean() -> None:
    # IcePop leaves out the second token, w = 10: -(1 * 3 + 0) / 2, not -3.
    old, behaviour = logs(0.5, 0.5), logs(0.5, 0.05)
    out = loss_of(old, old, behaviour, [3.0], None, ["learner.correction=icepop"])
    assert out.loss.item() == pytest.approx(-1.5)
    assert out.sums.metrics()["masked_share"] == 0.5


def test_bfloat16_logprobs_are_compared_in_float32() -> None:
    current = logs(0.5, 0.25).to(torch.bfloat16)
    assert loss_of(current, current, current, [1.0]).loss.dtype is torch.float32


@pytest.mark.parametrize("broken", ["current", "old", "behaviour", "reference"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logprob_that_is_not_finite_at_a_token_is_refused(broken: str, value: float) -> None:
    whole, bad = torch.tensor([[-2.0, -1.0]]), torch.tensor([[value, -1.0]])
    current, old, behaviour, reference = (
        bad if name == broken else whole for name in ("current", "old", "behaviour", "reference")
    )
    with pytest.raises(FloatingPointError, match="not finite"):
        loss_of(current, old, behaviour, [1.0], None, ["learner.kl=0.1"], reference=reference)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_current_logprob_that_is_not_finite_is_refused_without_a_penalty_too(value: float) -> None:
    whole = torch.tensor([[-2.0, -1.0]])
    with pytest.raises(FloatingPointError, match="not finite"):
        loss_of(torch.tensor([[value, -1.0]]), whole, whole, [1.0])
