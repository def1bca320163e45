"""Advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fundus_ray.learner.advantage import (
    EPS,
    Advantage,
    batch_normalised,
    group_centred,
    group_normalised,
    leave_one_out,
)

ALL = (group_normalised, group_centred, leave_one_out, batch_normalised)


def of(advantage: Advantage, *groups: list[float]) -> list[float]:
    """The advantages of groups with these rewards."""
    numbers = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    got = advantage(np.concatenate([np.array(g, dtype=np.float64) for g in groups]), numbers)
    assert got.dtype == np.float32
    return [float(a) for a in got]


def test_grpo_one_right_of_four_gets_root_three_and_the_others_minus_its_third() -> None:
    # mean 1/4, population variance 3/16, so std = sqrt(3)/4: (3/4) / std = sqrt(3), (-1/4) / std = -sqrt(3)/3.
    std = math.sqrt(3) / 4
    got = of(group_normalised, [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(got, np.array([0.75, -0.25, -0.25, -0.25]) / (std + EPS), rtol=1e-6)
    np.testing.assert_allclose(got, [1.7320508, -0.5773503, -0.5773503, -0.5773503], atol=5e-4)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_grpo_half_right_group_has_unit_advantages_whatever_its_size(size: int) -> None:
    np.testing.assert_allclose(of(group_normalised, [0.0, 1.0] * (size // 2)), [-1.0, 1.0] * (size // 2), atol=3e-4)


def test_grpo_gives_every_group_its_own_unit() -> None:
    # Rewards ten times as far apart give the same advantages.
    np.testing.assert_allclose(of(group_normalised, [0.0, 1.0], [5.0, 15.0]), [-1, 1, -1, 1], atol=3e-4)


def test_dr_grpo_is_the_distance_to_the_own_group_s_mean() -> None:
    # Means 1/4 and 3.
    assert of(group_centred, [1.0, 0.0, 0.0, 0.0], [2.0, 4.0]) == [0.75, -0.25, -0.25, -0.25, -1.0, 1.0]


def test_rloo_is_the_distance_to_the_mean_of_the_others() -> None:
    # Of (3, 1, 2): 3 - 3/2, 1 - 5/2, 2 - 4/2. Of (1, 0): 1 - 0, 0 - 1.
    assert of(leave_one_out, [3.0, 1.0, 2.0], [1.0, 0.0]) == [1.5, -1.5, 0.0, 1.0, -1.0]


def test_rloo_has_no_others_in_a_group_of_one() -> None:
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        of(leave_one_out, [1.0, 0.0], [1.0])


def test_reinforce_pp_takes_the_whole_batch_as_its_unit() -> None:
    # Centred: -0.5, 0.5, -1.5, 1.5, of mean 0 and variance (0.25 + 0.25 + 2.25 + 2.25) / 4 = 1.25.
    want = np.array([-0.5, 0.5, -1.5, 1.5]) / math.sqrt(1.25)
    np.testing.assert_allclose(of(batch_normalised, [0.0, 1.0], [0.0, 3.0]), want, rtol=2e-4)


@pytest.mark.parametrize("advantage", ALL)
def test_equal_rewards_give_exact_zeros_where_the_mean_rounds(advantage: Advantage) -> None:
    rewards = [0.1] * 3
    assert np.mean(rewards) != 0.1  # the case that a plain subtraction gets wrong
    assert of(advantage, rewards, rewards) == [0.0] * 6


@pytest.mark.parametrize("advantage", ALL)
def test_group_without_spread_is_zero_beside_one_with_it(advantage: Advantage) -> None:
    got = of(advantage, [0.1] * 3, [0.0, 1.0])
    assert got[:3] == [0.0] * 3
    assert got[3] < 0 < got[4]


@pytest.mark.parametrize("advantage", ALL)
def test_advantages_follow_their_rows_where_groups_lie_between_each_other(advantage: Advantage) -> None:
    apart = of(advantage, [0.0, 1.0], [0.0, 3.0])
    mixed = advantage(np.array([0.0, 0.0, 3.0, 1.0]), np.array([0, 1, 1, 0]))
    assert mixed.tolist() == [apart[0], apart[2], apart[3], apart[1]]


@pytest.mark.parametrize("advantage", [group_normalised, batch_normalised])
def test_rounding_noise_is_not_blown_up_to_unit_spread(advantage: Advantage) -> None:
    assert np.abs(of(advantage, [0.3, 0.1 + 0.2])).max() < 1e-9
