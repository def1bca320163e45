"""The reward worker: `RolloutGroup` in, `ScoredGroup` out, within reward.hold_s + reward.timeout_s seconds.

It opens the knowledge store that the run built. Reading and scoring chains runs in threads, so the worker keeps
answering meanwhile. The runtime makes it an actor.

Where search or checker is down it is our fault, and no rollout is scored zero for that. The group is held: those held
stand in line, and the first asks again after growing pauses, no sooner than the circuit breaker lets it. After
reward.hold_s the group is given up as reward.outage says, and counted. With `mask` a group no longer waits once the
outage itself is older than that; with `drop` it does, so that an outage does not use up prompts at full speed.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace

from fundus_ray.config import Config
from fundus_ray.knowledge.records import Records
from fundus_ray.knowledge.retriever import Retriever, SearchError
from fundus_ray.knowledge.store import BuiltStore, open_store, records_of
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, BreakerState, CircuitBreaker
from fundus_ray.reward.checkers.checker import Checker, CheckerError
from fundus_ray.reward.checkers.open import open_checker
from fundus_ray.reward.evidence import EvidenceSearch, GuardedRetriever
from fundus_ray.reward.plugin import load_plugin
from fundus_ray.reward.rubric import Rubric
from fundus_ray.reward.verdicts import GuardedChecker
from fundus_ray.types import Pulse, RolloutGroup, ScoredGroup, ScoringCost

DOWN = (SearchError, CheckerError)  # what is our fault
_WORST_LAST = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


@dataclass(slots=True)
class _Course:
    """How the scoring of one group goes."""

    tries: int = 0
    failed_at: float | None = None  # time.monotonic() of the first failure
    reason: str = ""  # of the last failure

    def failed(self, err: Exception) -> None:
        self.reason = str(err)
        if self.failed_at is None:
            self.failed_at = time.monotonic()

    @property
    def held_s(self) -> float:
        return 0.0 if self.failed_at is None else time.monotonic() - self.failed_at


class RewardWorker:
    """Scores groups, several at once."""

    def __init__(self, config: Config, built: BuiltStore) -> None:
        self._config = config
        self._reward = config.reward
        self._built = built
        self._retriever: Retriever | None = None
        self._scorer: Rubric | None = None
        self._breakers: tuple[CircuitBreaker, ...] = ()
        self._free = asyncio.Semaphore(config.reward.at_once)
        self._line = asyncio.Lock()  # of held groups; the one inside may ask a server that is down
        self._told = (0, 0, 0)  # hits, misses and failures that groups given back have told of

    async def start(self) -> None:
        """Open the store, and the checker and plug-in that the settings ask for. Raises DataError, ConfigError,
        SearchError where one cannot be opened."""
        limit_s, records = self._reward.timeout_s, records_of(self._config.knowledge)
        search = CircuitBreaker(SearchError, doing="the search", limit_s=limit_s)
        check = CircuitBreaker(CheckerError, doing="the check", limit_s=limit_s)
        self._breakers = (search, check)
        await asyncio.to_thread(read_chain, "No drusen.", records.vocabulary)  # compiles its patterns: seconds, once
        self._retriever = await open_store(self._config.knowledge, self._built)
        self._scorer = make_rubric(
            self._config,
            records=records,
            retriever=GuardedRetriever(self._retriever, search),
            checker=GuardedChecker(open_checker(self._config, records), check),
        )

    async def close(self) -> None:
        """Free connections, and stop what the checker runs."""
        if self._scorer is not None:
            await self._scorer.verdicts.checker.close()
        if self._retriever is not None:
            await self._retriever.close()

    async def pulse(self) -> Pulse:
        """A sign of life. Its work is in threads and has limits of its own."""
        return Pulse()

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores; given up, not an error, where knowledge stays down or time runs out."""
        course, started_s = _Course(), time.time()
        limit_s = self._reward.hold_s + self._reward.timeout_s
        scored = None
        try:
            async with asyncio.timeout(limit_s):
                scored = await self._score_or_hold(group, course)
        except TimeoutError:
            course.reason = course.reason or f"not done within reward.hold_s + reward.timeout_s = {limit_s:g} s"
        outage = ""
        if scored is None:
            outage = self._reward.outage
            scored = await self._given_up(group, reason=course.reason, started_s=started_s)
        return replace(scored, started_s=started_s, cost=self._cost(course, outage=outage))

    @property
    def _rubric(self) -> Rubric:
        assert self._scorer is not None, "call start() first"
        return self._scorer

    async def _score_or_hold(self, group: RolloutGroup, course: _Course) -> ScoredGroup | None:
        """None where it was held for hold_s and still could not be scored."""
        scored = await self._try(group, course)
        pause_s = FIRST_PAUSE_S
        if self._reward.outage == "mask" and any(b.down_s > self._reward.hold_s for b in self._breakers):
            return scored
        while scored is None:
            try:
                async with asyncio.timeout(self._reward.hold_s - course.held_s):
                    await self._line.acquire()
            except TimeoutError:
                return None
            try:
                works = all(breaker.works for breaker in self._breakers)
                if not works:
                    scored = await self._retry(group, course, pause_s=pause_s)
            finally:
                self._line.release()
            if works:  # what failed is this group's own search, or is over: others need not wait for it
                scored = await self._retry(group, course, pause_s=pause_s)
            if course.held_s >= self._reward.hold_s:
                return scored
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        return scored

    async def _retry(self, group: RolloutGroup, course: _Course, *, pause_s: float) -> ScoredGroup | None:
        """A try after a pause, unless the hold ends before it."""
        pause_s = max(random.uniform(0.5, 1.0) * pause_s, *(breaker.blocked_s for breaker in self._breakers))
        left_s = self._reward.hold_s - course.held_s
        await asyncio.sleep(max(0.0, min(pause_s, left_s)))
        return await self._try(group, course) if pause_s < left_s else None

    async def _try(self, group: RolloutGroup, course: _Course) -> ScoredGroup | None:
        async with self._free:
            course.tries += 1
            try:
                return await self._rubric.score_group(group)
            except DOWN as err:
                course.failed(err)
                return None

    async def _given_up(self, group: RolloutGroup, *, reason: str, started_s: float) -> ScoredGroup:
        if self._reward.outage == "mask":
            return await self._rubric.score_without_knowledge(group, reason)
        return self._rubric.unscorable(group, reason=reason, started_s=started_s)

    def _cost(self, course: _Course, *, outage: str) -> ScoringCost:
        caches = (self._rubric.evidence, self._rubric.verdicts)
        failed = sum(breaker.failed for breaker in self._breakers)
        now = (sum(c.hits for c in caches), sum(c.misses for c in caches), failed)
        hits, misses, failures = (n - told for n, told in zip(now, self._told, strict=True))
        self._told = now
        return ScoringCost(
            cache_hits=hits,
            cache_misses=misses,
            failures=failures,
            tries=course.tries,
            held_s=course.held_s,
            breaker=max((breaker.state for breaker in self._breakers), key=_WORST_LAST.index).value,
            outage=outage,
        )


def make_rubric(config: Config, *, records: Records, retriever: Retriever, checker: Checker) -> Rubric:
    """The rubric that the settings ask for. Raises ConfigError where the plug-in cannot be used."""
    return Rubric(
        config.reward,
        records=records,
        evidence=EvidenceSearch(retriever, top_k=config.knowledge.top_k),
        checker=checker,
        plugin=load_plugin(config.reward.plugin) if config.reward.plugin else None,
        drop_no_spread=config.loop.drop_no_spread,
    )
