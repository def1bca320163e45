"""Starts each actor of a run in its place, which it also has when it is started again.

In: the configuration, places, the policy's folder, the folder of logs. Out: actors as the pools and the loop take them
(actors.py, learner_ranks.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fundus_ray.actors import Actor, RewardActor, RolloutActor
from fundus_ray.cluster import spawn
from fundus_ray.config import Config
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.learner.actor import LearnerRank
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.places import Ask
from fundus_ray.reservation import Places
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.rollout.worker import RolloutWorker


@dataclass(frozen=True, slots=True)
class Spawner:
    """`model`: the policy's folder; `logs`: folder of NAME.log."""

    config: Config
    places: Places
    model: str
    logs: Path

    def engine(self, ask: Ask) -> RolloutActor:
        """A rollout actor."""
        config, path, place = self.config, self.logs / f"{ask.name}.log", self.places.of(ask.name)
        args, threads, calls = (config, self.model, ask.name, str(path)), config.rollout.threads, config.calls_under_way
        return RolloutActor(
            partial(spawn, ask, RolloutWorker, *args, threads=threads, calls=calls, log_path=path, place=place),
            start_limit_s=config.ray.start_timeout_s,
            limit_s=config.loop.stall_s,
            group_limit_s=config.group_limit_s,
        )

    def learner(self, asks: Sequence[Ask]) -> LearnerRanks:
        """All its ranks."""

        def spawn_all() -> list[Actor]:
            return [self._rank(rank, ask) for rank, ask in enumerate(asks)]

        return LearnerRanks(spawn_all, limit_s=self.config.loop.stall_s)

    def scorer(self, ask: Ask, knowledge: BuiltStore, *, joins: bool = False) -> RewardActor:
        """A reward actor. `joins`: a run that goes on, where the search may be down for a while."""
        config, place = self.config, self.places.of(ask.name)
        args, calls = (config, knowledge), config.calls_under_way
        # A worker gives a group back within reward.hold_s + reward.timeout_s, which is less (config/rules.py).
        return RewardActor(
            partial(spawn, ask, RewardWorker, *args, threads=1, calls=calls, place=place),
            start_limit_s=config.ray.start_timeout_s,
            limit_s=config.loop.stall_s,
            waits_for_search=joins,
        )

    def _rank(self, rank: int, ask: Ask) -> Actor:
        path, place, threads = self.logs / f"{ask.name}.log", self.places.of(ask.name), self.config.learner.threads
        args = (self.config, self.model, str(path), rank)
        return spawn(ask, LearnerRank, *args, threads=threads, log_path=path, place=place)
