"""All reward workers as one: who scores the next group.

In: reward workers, each an actor with time limits of its own (actors.py). Out: `RewardPool`, which loop.py takes as a
part. Pure asyncio, no Ray.

A worker whose process dies, or that hangs, is started again (crew.py), and its groups are scored by another one: a
death costs a group time, never its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

from fundus_ray.crew import Care, Crew, Worker
from fundus_ray.obs.trace import Trace
from fundus_ray.types import RolloutGroup, ScoredGroup


class RewardEngine(Worker, Protocol):
    """One reward worker. Every call has a time limit and raises ProcessDiedError where its process is gone."""

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores."""


class RewardPool:
    """A group goes to the worker with the fewest under way, and to another one where that dies."""

    def __init__(self, workers: Sequence[RewardEngine], *, care: Care, trace: Trace) -> None:
        """A death after the last restart is raised."""
        self._crew: Crew[RewardEngine] = Crew(workers, care=care, admit=lambda _: nullcontext(), trace=trace)
        self._trace = trace

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores."""

        async def score(worker: RewardEngine) -> ScoredGroup:
            with self._trace.span("score", worker=worker.name, group=group.prompt.group_id):
                return await worker.score(group)

        return await self._crew.call(score, of=group.prompt)

    def add(self, worker: RewardEngine) -> None:
        """One more, which has not started."""
        self._crew.add(worker)

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the workers, each within limit_s; what went wrong is returned, as the end goes on."""
        return await self._crew.close(limit_s=limit_s)
