"""The reward worker: `RolloutGroup` in, `ScoredGroup` out, within `reward.timeout_s` seconds.

It opens the knowledge store that the run built. Reading and scoring chains runs in a thread, so the worker keeps
answering meanwhile. The runtime makes it an actor.
"""

from __future__ import annotations

import asyncio
import time

from fundus_ray.config import Config
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.store import BuiltStore, open_store, records_of
from fundus_ray.reward.checkers.checker import CheckerError
from fundus_ray.reward.checkers.open import open_checker
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.plugin import load_plugin
from fundus_ray.reward.rubric import Rubric, unscorable
from fundus_ray.types import RolloutGroup, ScoredGroup


class RewardWorker:
    """Scores groups, several at once."""

    def __init__(self, config: Config, built: BuiltStore) -> None:
        self._config = config
        self._built = built
        self._rubric: Rubric | None = None

    async def start(self) -> None:
        """Open the store, and the checker and plug-in that the settings ask for. Raises DataError, ConfigError,
        SearchError where one cannot be opened."""
        config = self._config
        records = records_of(config.knowledge)
        retriever = await open_store(config.knowledge, self._built)
        self._rubric = Rubric(
            config.reward,
            records=records,
            evidence=EvidenceSearch(retriever, top_k=config.knowledge.top_k),
            checker=open_checker(config, records),
            plugin=load_plugin(config.reward.plugin) if config.reward.plugin else None,
            drop_no_spread=config.loop.drop_no_spread,
        )

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores; unscorable, not an error, where knowledge fails or time runs out."""
        assert self._rubric is not None, "call start() first"
        started_s, limit_s = time.time(), self._config.reward.timeout_s
        try:
            return await asyncio.wait_for(self._rubric.score_group(group), limit_s)
        except TimeoutError:
            reason = f"scoring took longer than reward.timeout_s={limit_s:g}"
        except (SearchError, CheckerError) as err:
            reason = str(err)
        return unscorable(group, reason=reason, snapshot=self._rubric.snapshot, started_s=started_s)
