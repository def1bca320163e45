"""KL estimators at one token, and their means over a distribution of two outcomes against the KL itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fundus_ray.learner.kl import KL_ESTIMATORS

REFERENCE = torch.tensor([0.5, 0.5])
LOGITS = torch.tensor([math.log(0.8), math.log(0.2)])
KL = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)  # 0.19274


@pytest.mark.parametrize(
    ("name", "value", "gradient"),
    [
        # d = log 2: d, d^2 / 2, 1/2 - 1 + d; by d: d (as in a reward), d, 1 - 1/2.
        ("k1", 0.693147, 0.693147),
        ("k2", 0.240227, 0.693147),
        ("k3", 0.193147, 0.5),
    ],
)
def test_value_and_gradient_where_the_policy_is_twice_as_sure(name: str, value: float, gradient: float) -> None:
    d = torch.tensor(math.log(2.0), requires_grad=True)
    penalty = KL_ESTIMATORS[name](d)
    penalty.backward()
    assert d.grad is not None
    assert (penalty.item(), d.grad.item()) == pytest.approx((value, gradient), rel=1e-5)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_are_the_kl_on_average(name: str) -> None:
    d = LOGITS - REFERENCE.log()
    assert (LOGITS.exp() * KL_ESTIMATORS[name](d)).sum().item() == pytest.approx(KL, rel=1e-5)


def expected_gradient(name: str) -> Tensor:
    """By the logits, of the mean over tokens drawn from the policy; the draw itself has no gradient."""
    logits = LOGITS.clone().requires_grad_()
    log_p = torch.log_softmax(logits, 0)
    (log_p.exp().detach() * KL_ESTIMATORS[name](log_p - REFERENCE.log())).sum().backward()
    assert logits.grad is not None
    return logits.grad


def exact_gradient() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    log_p = torch.log_softmax(logits, 0)
    (log_p.exp() * (log_p - REFERENCE.log())).sum().backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("name", ["k1", "k2"])
def test_gradient_of_k1_and_k2_is_the_kl_s_on_average(name: str) -> None:
    torch.testing.assert_close(expected_gradient(name), exact_gradient())


def test_gradient_of_k3_points_the_same_way_but_differs() -> None:
    k3, exact = expected_gradient("k3"), exact_gradient()
    assert torch.equal(k3.sign(), exact.sign())
    assert not torch.allclose(k3, exact, rtol=0.05)
