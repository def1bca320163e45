"""Group advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fundus_ray.learner.advantage import EPS, group_advantages


def test_one_right_of_four_gets_root_three_and_the_others_minus_its_third() -> None:
    # mean 1/4, population variance 3/16, so std = sqrt(3)/4: (3/4) / std = sqrt(3), (-1/4) / std = -sqrt(3)/3.
    std = math.sqrt(3) / 4
    got = group_advantages([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(got, np.array([0.75, -0.25, -0.25, -0.25]) / (std + EPS), rtol=1e-6)
    np.testing.assert_allclose(got, [1.7320508, -0.5773503, -0.5773503, -0.5773503], atol=5e-4)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_half_right_group_has_unit_advantages_whatever_its_size(size: int) -> None:
    got = group_advantages([0.0, 1.0] * (size // 2))
    np.testing.assert_allclose(got, [-1.0, 1.0] * (size // 2), atol=3e-4)


def test_equal_rewards_give_exact_zeros_where_the_mean_rounds() -> None:
    rewards = [0.1] * 3
    assert np.mean(rewards) != 0.1  # the case that a plain subtraction gets wrong
    assert group_advantages(rewards).tolist() == [0.0, 0.0, 0.0]


def test_rounding_noise_is_not_blown_up_to_unit_spread() -> None:
    assert np.abs(group_advantages([0.3, 0.1 + 0.2])).max() < 1e-9


def test_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        group_advantages([1.0, math.nan])
