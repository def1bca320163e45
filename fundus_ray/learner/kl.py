"""Estimators of KL(pi || pi_ref) from tokens that pi wrote, as a penalty that has a gradient.

In: d = log pi - log pi_ref [...] at each token, with the gradient of pi. Out: one term a token, same shape.
Values after J. Schulman, "Approximating KL Divergence" (2020); gradients after Liu et al., arXiv 2510.01555. The tokens
are taken for pi's own, as in GRPO: no importance weight is applied to the penalty.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def k1(d: Tensor) -> Tensor:
    """d: unbiased, may be negative. Its own gradient grad log pi is 0 on average and would hold nothing back, so it
    gets the one that it has as part of a reward, d grad log pi, which is the KL's."""
    return d.detach() + d.detach() * (d - d.detach())


def k2(d: Tensor) -> Tensor:
    """d^2 / 2: biased but never negative; its gradient d grad log pi is the KL's."""
    return d.square() / 2


def k3(d: Tensor) -> Tensor:
    """exp(-d) - 1 + d: unbiased, never negative. GRPO's choice (arXiv 2402.03300, equation 4); its gradient
    (1 - exp(-d)) grad log pi is the KL's to first order only."""
    return (-d).exp() - 1.0 + d


KL_ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
