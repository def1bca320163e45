"""Group-relative advantages (GRPO).

In: the total rewards of one prompt's G rollouts. Out: G advantages without unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EPS = 1e-4  # in units of reward; keeps a group that differs only by rounding from being blown up to unit spread


def group_advantages(rewards: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float32]:
    """A_i = (r_i - mean(r)) / (std(r) + EPS), rewards [G] -> [G] float32.

    After GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.2: outcome supervision). The paper does not say which
    standard deviation; here it is the population's (division by G), so that a half-right group has advantages +-1 for
    every G. A group whose rewards are all equal gets exact zeros. Raises ValueError where a reward is not finite.
    """
    r = np.asarray(rewards, dtype=np.float64)
    if r.ndim != 1 or r.size == 0 or not np.isfinite(r).all():
        raise ValueError(f"rewards must be one row of finite numbers, not {r.tolist()}")
    if (r == r[0]).all():
        return np.zeros(r.shape, dtype=np.float32)
    return ((r - r.mean()) / (r.std() + EPS)).astype(np.float32)
