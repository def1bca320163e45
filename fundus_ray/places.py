"""What each actor asks for, and whether a cluster has it.

In: the configuration; the nodes' resources. Out: `Ask`s, engines first; a ConfigError with the numbers where they do
not fit. Pure, no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_ray.config import Config
from fundus_ray.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Ask:
    """What one actor needs."""

    name: str
    cpus: float
    gpus: float


def asked(config: Config) -> list[Ask]:
    """One entry an actor, engines first."""
    rollout, reward, learner = config.rollout, config.reward, config.learner
    return [
        *(Ask(f"rollout-{i}", rollout.cpus, rollout.gpus) for i in range(rollout.workers)),
        *(Ask(name, learner.cpus, learner.gpus) for name in rank_names(learner.ranks)),
        *(Ask(f"reward-{i}", reward.cpus, reward.gpus) for i in range(reward.workers)),
    ]


def rank_names(ranks: int) -> list[str]:
    """The learner's actors, as in errors and logs."""
    return ["learner"] if ranks == 1 else [f"learner-{rank}" for rank in range(ranks)]


def check_placement(asks: Sequence[Ask], *, nodes: Sequence[Mapping[str, float]]) -> None:
    """Whether the actors fit the cluster as a whole, and each on one machine. Raises ConfigError with the numbers."""
    for resource, amounts in (("CPU", [a.cpus for a in asks]), ("GPU", [a.gpus for a in asks])):
        there = [node.get(resource, 0.0) for node in nodes]
        parts = " + ".join(f"{ask.name} {amount:g}" for ask, amount in zip(asks, amounts, strict=True) if amount)
        key = resource.lower() + "s"
        if sum(amounts) > sum(there):
            raise ConfigError(
                f"the actors ask for {sum(amounts):g} {resource}s ({parts}) but the cluster has {sum(there):g}; lower "
                f"rollout.workers, rollout.{key} or learner.{key}"
            )
        if max(amounts) > max(there, default=0.0):
            raise ConfigError(
                f"one actor asks for {max(amounts):g} {resource}s ({parts}) but the largest machine of the cluster has "
                f"{max(there):g}; lower rollout.{key} or learner.{key}"
            )
