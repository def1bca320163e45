"""Placement by hand."""

from __future__ import annotations

import pytest

from fundus_ray.config import load
from fundus_ray.errors import ConfigError
from fundus_ray.places import Ask, asked, check_placement


def test_engines_are_asked_for_first() -> None:
    config = load(
        None, ["rollout.workers=2", "rollout.cpus=3", "learner.gpus=1", "reward.workers=2", "reward.cpus=0.5"]
    )
    assert asked(config) == [
        Ask("rollout-0", 3.0, 0.0),
        Ask("rollout-1", 3.0, 0.0),
        Ask("learner", 1.0, 1.0),
        Ask("reward-0", 0.5, 0.0),
        Ask("reward-1", 0.5, 0.0),
    ]


def test_actors_that_fill_the_cluster_exactly_pass() -> None:
    asks = [Ask("rollout-0", 2.0, 1.0), Ask("learner", 1.0, 1.0)]
    check_placement(asks, nodes=[{"CPU": 2.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}])


def test_too_many_gpus_are_refused_with_the_numbers() -> None:
    asks = [Ask("rollout-0", 1.0, 1.0), Ask("rollout-1", 1.0, 1.0), Ask("learner", 1.0, 0.0)]
    with pytest.raises(ConfigError) as caught:
        check_placement(asks, nodes=[{"CPU": 8.0, "GPU": 1.0}])
    assert str(caught.value) == (
        "the actors ask for 2 GPUs (rollout-0 1 + rollout-1 1) but the cluster has 1; "
        "lower rollout.workers, rollout.gpus or learner.gpus"
    )


def test_too_many_cpus_are_refused_with_the_numbers() -> None:
    asks = [Ask("rollout-0", 4.0, 0.0), Ask("learner", 1.5, 0.0), Ask("reward-0", 0.0, 0.0)]
    with pytest.raises(ConfigError, match=r"5\.5 CPUs \(rollout-0 4 \+ learner 1\.5\) but the cluster has 5;"):
        check_placement(asks, nodes=[{"CPU": 2.0}, {"CPU": 3.0}])


def test_actor_larger_than_any_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"one actor asks for 4 GPUs .* largest machine of the cluster has 2"):
        check_placement([Ask("rollout-0", 1.0, 4.0)], nodes=[{"CPU": 8.0, "GPU": 2.0}] * 3)
