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
from fundus_ray.reward.rubric import UNSCORABLE, Rubric, unscorable
from fundus_ray.types import RolloutGroup, ScoredGroup


class RewardWorker:
    """Scores groups, several at once, and counts what it could not score."""

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
        self._counts = {"scored": 0, UNSCORABLE: 0, "timeouts": 0}

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores; unscorable, not an error, where knowledge fails or time runs out."""
        started_s = time.time()
        try:
            scored = await asyncio.wait_for(asyncio.to_thread(self._rubric.score_group, group), self._timeout_s)
        except TimeoutError:
            self._counts["timeouts"] += 1
            reason = f"scoring took longer than reward.timeout_s={self._timeout_s:g}"
            scored = unscorable(group, reason=reason, snapshot=self._rubric.snapshot, started_s=started_s)
        self._counts[UNSCORABLE if scored.drop_reason == UNSCORABLE else "scored"] += 1
        return scored

    def counts(self) -> dict[str, int]:
        """Groups so far: scored, unscorable, and how many of the latter ran out of time."""
        return dict(self._counts)
