"""The reward worker: `RolloutGroup` in, `ScoredGroup` out, within `reward.timeout_s` seconds.

It opens the knowledge index that the run built. Scoring runs in a thread, so the worker keeps answering meanwhile. The
runtime makes it an actor.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.knowledge.index import KnowledgeIndex
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reward.rubric import Rubric, unscorable
from fundus_ray.types import RolloutGroup, ScoredGroup


class RewardWorker:
    """Scores groups, several at once."""

    def __init__(self, config: Config, knowledge_dir: str) -> None:
        """`knowledge_dir` is `KnowledgeIndex.folder`. Raises DataError, SearchError where it cannot be opened."""
        index = KnowledgeIndex.open(Path(knowledge_dir))
        self._timeout_s = config.reward.timeout_s
        self._rubric = Rubric(
            config.reward,
            vocabulary=load_vocabulary(),
            records=load_records(),
            index=index,
            top_k=config.knowledge.top_k,
            drop_no_spread=config.loop.drop_no_spread,
        )

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores; unscorable, not an error, where knowledge fails or time runs out."""
        started_s = time.time()
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._rubric.score_group, group), self._timeout_s)
        except TimeoutError:
            reason = f"scoring took longer than reward.timeout_s={self._timeout_s:g}"
            return unscorable(group, reason=reason, snapshot=self._rubric.snapshot, started_s=started_s)
