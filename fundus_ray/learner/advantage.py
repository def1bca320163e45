"""Advantages: how much better a rollout was than what it is compared with.

In: rewards [N] of one batch and the group that each row belongs to [N]. Out: advantages [N] float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

EPS = 1e-4  # in units of reward; keeps rewards that differ only by rounding from being blown up to unit spread

Rewards = NDArray[np.float64]
Advantages = NDArray[np.float32]
Advantage = Callable[[Rewards, NDArray[np.int64]], Advantages]


def group_normalised(rewards: Rewards, groups: NDArray[np.int64]) -> Advantages:
    """A_i = (r_i - mean(r)) / (std(r) + EPS), mean and std of the rollout's own group. [N], [N] -> [N].

    GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.2: outcome supervision). The paper does not say which standard
    deviation; here it is the population's (division by G), so that a half-right group has advantages +-1 for every G.
    A group whose rewards are all equal gets exact zeros.
    """
    return _by_group(rewards, groups, lambda r: (r - r.mean()) / (r.std() + EPS)).astype(np.float32)


def group_centred(rewards: Rewards, groups: NDArray[np.int64]) -> Advantages:
    """A_i = r_i - mean(r) of the own group. [N], [N] -> [N].

    Dr. GRPO (arXiv 2503.20783, section 3.2): without the division by std, which makes too easy and too hard questions
    count more than the others.
    """
    return _by_group(rewards, groups, lambda r: r - r.mean()).astype(np.float32)


def leave_one_out(rewards: Rewards, groups: NDArray[np.int64]) -> Advantages:
    """A_i = r_i - mean of the other G - 1 rewards of the group. [N], [N] -> [N].

    RLOO (arXiv 2402.14740, section 2.3; Kool et al. 2019). Equals G / (G - 1) (r_i - mean(r)). Raises ValueError where
    a group has one rollout only.
    """
    if np.unique(groups, return_counts=True)[1].min() < 2:
        raise ValueError("leave-one-out advantages need groups of at least 2 rollouts")
    return _by_group(rewards, groups, lambda r: r - (r.sum() - r) / (r.size - 1)).astype(np.float32)


def batch_normalised(rewards: Rewards, groups: NDArray[np.int64]) -> Advantages:
    """A_i = (c_i - mean(c)) / (std(c) + EPS) over the whole batch, c_i = r_i - mean of the own group. [N], [N] -> [N].

    REINFORCE++ with baseline (arXiv 2501.03262v9, section 3), the paper's variant for several rollouts a prompt, which
    is the only case here. The spread of a whole batch is a steadier unit than that of a few rollouts. mean(c) is 0.
    """
    centred = _by_group(rewards, groups, lambda r: r - r.mean())
    return (centred / (centred.std() + EPS)).astype(np.float32)


def _by_group(
    rewards: Rewards, groups: NDArray[np.int64], estimate: Callable[[Rewards], Rewards]
) -> NDArray[np.float64]:
    advantages = np.zeros(rewards.shape)
    for group in np.unique(groups):
        rows = groups == group
        own = rewards[rows]
        # Equal rewards teach nothing, but their mean may round to another number.
        if (own != own[0]).any():
            advantages[rows] = estimate(own)
    return advantages
