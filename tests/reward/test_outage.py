"""A search server is killed in the middle of scoring, for real: nothing is scored zero for it, and all is counted."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chain_groups import chain_group
from search_server import Server

from fundus_ray.config import Config, KnowledgeConfig, load
from fundus_ray.knowledge.elastic import build
from fundus_ray.knowledge.elastic_client import Cluster
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.store import BuiltStore, records_of
from fundus_ray.reasoning.chain import compose
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.types import RolloutGroup, ScoredGroup

LABELS = ("normal", "glaucoma", "diabetic retinopathy", "age-related macular degeneration")
FINDINGS = sorted(records_of(KnowledgeConfig()).vocabulary.findings.values(), key=lambda finding: finding.id)
# Few, because the child server scans them all for every word.
PASSAGES = [Passage(f"p#{i}", label, "", f"Signs of {label}.", "s", "u", "l") for i, label in enumerate(LABELS)]
LIMIT_S = 200.0  # of a test's wait; the child server is slow on a busy machine


def group(number: int) -> RolloutGroup:
    """Two chains that name findings which no other group names: every group must search."""
    named = [FINDINGS[(2 * number + i) % len(FINDINGS)].name for i in range(2)]
    texts = [compose(findings=[name], conclusion=LABELS[i], letters=["ABCD"[i]]) for i, name in enumerate(named)]
    return chain_group(number, texts, options=LABELS, answer="glaucoma")


def settings(server: Server, **reward: Any) -> Config:
    config = load(None, ["knowledge.store=elasticsearch", f"knowledge.url={server.url}"])
    config.knowledge = dataclasses.replace(config.knowledge, timeout_s=30.0, retries=0)
    config.reward = dataclasses.replace(config.reward, **reward)
    return config


@asynccontextmanager
async def started(server: Server, **reward: Any) -> AsyncIterator[RewardWorker]:
    config = settings(server, **reward)
    cluster = Cluster(config.knowledge)
    await build(cluster, PASSAGES, alias=config.knowledge.index, snapshot="feed", vectors=None)
    await cluster.close()
    server.wait_until_saved(config.knowledge.index)
    worker = RewardWorker(config, BuiltStore(folder=Path(), snapshot="feed"))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.close()


def counts(groups: Sequence[ScoredGroup]) -> Counter[str]:
    """Rollouts by status and what an outage made of their group."""
    return Counter(f"{s.status.value} {g.cost.outage}".strip() for g in groups for s in g.scored)


def zeros_for_an_outage(groups: Sequence[ScoredGroup]) -> int:
    """Rollouts that may be trained on with no reward at all; each here is well formed, which always pays."""
    return sum(s.total == 0 for g in groups if g.trainable for s in g.scored)


async def test_groups_are_held_while_the_server_is_gone_and_scored_once_it_is_back(own_server: Server) -> None:
    async with started(own_server, hold_s=LIMIT_S, timeout_s=30.0) as worker:
        before = await asyncio.gather(*(worker.score(group(i)) for i in range(4)))
        own_server.stop()
        held = [asyncio.create_task(worker.score(group(i))) for i in range(4, 54)]
        await until(lambda: worker._breakers[0].blocked_s > 0)
        await asyncio.sleep(1)
        assert not any(task.done() for task in held)
        # Fifty groups wait, but only the calls before the breaker opened and a few probes were made.
        assert worker._breakers[0].failed < 30
        known = await worker.score(group(0))  # what the cache knows needs no server
        own_server.start()
        own_server.wait()
        after = await asyncio.gather(*held)
        assert counts([*before, known, *after]) == {"scored": 2 * 55}
        assert zeros_for_an_outage([*before, known, *after]) == 0
        assert (known.cost.tries, known.cost.held_s) == (1, 0.0)
        assert all(g.cost.tries > 1 and g.cost.held_s > 0 for g in after)
        assert worker._breakers[0].state.value == "closed"
        fresh = await worker.score(group(60))
        assert (fresh.cost.tries, fresh.cost.breaker, fresh.cost.failures) == (1, "closed", 0)
        assert sum(g.cost.failures for g in [*before, known, *after]) == worker._breakers[0].failed
        misses = sum(g.cost.cache_misses for g in [*before, known, *after, fresh])
        assert misses == worker._rubric.evidence.misses


async def test_after_the_hold_groups_are_dropped_never_zero(own_server: Server) -> None:
    async with started(own_server, hold_s=1.0, timeout_s=30.0, outage="drop") as worker:
        before = await worker.score(group(0))
        own_server.stop()
        began = time.monotonic()
        gone = await asyncio.gather(*(worker.score(group(i)) for i in range(1, 40)))
        assert time.monotonic() - began < LIMIT_S
        assert counts([before, *gone]) == {"scored": 2, "unscorable drop": 78}
        assert {(g.trainable, g.drop_reason) for g in gone} == {(False, "unscorable")}
        assert all(set(s.parts.values()) == {None} for g in gone for s in g.scored)
        assert own_server.url in gone[0].scored[0].explanation[0]
        own_server.start()
        own_server.wait()
        async with asyncio.timeout(LIMIT_S):  # on a busy machine its first answers may take longer than the hold
            back = await worker.score(group(50))
            while not back.trainable:
                back = await worker.score(group(50))
        assert counts([back]) == {"scored": 2}


async def test_after_the_hold_groups_are_scored_without_what_needs_the_search(own_server: Server) -> None:
    async with started(own_server, hold_s=0.5, timeout_s=30.0, outage="mask") as worker:
        own_server.stop()
        masked = await asyncio.gather(*(worker.score(group(i)) for i in range(1, 10)))
        assert counts(masked) == {"scored mask": 18}
        assert all(g.trainable for g in masked)
        assert zeros_for_an_outage(masked) == 0
        assert [s.parts["accuracy"] for s in masked[0].scored] == [0.0, 1.0]
        late = await worker.score(group(20))  # the outage is old: no further wait
        assert late.cost.outage == "mask"
        assert late.cost.tries == 1


async def test_cancelled_groups_leave_no_place_taken(own_server: Server) -> None:
    async with started(own_server, hold_s=LIMIT_S, timeout_s=30.0, at_once=2) as worker:
        own_server.stop()
        held = [asyncio.create_task(worker.score(group(i))) for i in range(6)]
        await until(lambda: worker._breakers[0].blocked_s > 0)
        for task in held:
            task.cancel()
        ended = await asyncio.gather(*held, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        own_server.start()
        own_server.wait()
        assert counts([await worker.score(group(9))]) == {"scored": 2}


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.05)
