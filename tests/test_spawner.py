"""Workers that come later than the run, with actors that are scripted, on a virtual clock."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fundus_ray import runtime, spawner
from fundus_ray.actors import RewardActor
from fundus_ray.config import load
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.places import Ask, Bundle, Group

DOWN_UNTIL_S = 100.0
KNOWLEDGE = BuiltStore(Path(), "")


class Scorer:
    """An actor whose start finds the search down."""

    name = "reward-1"

    async def call(self, method: str, **_: Any) -> None:
        assert method == "start"
        if asyncio.get_running_loop().time() < DOWN_UNTIL_S:
            raise SearchError("http://h:9200 is gone")


@pytest.fixture
def spawning(monkeypatch: pytest.MonkeyPatch) -> spawner.Spawner:
    """Of scripted actors."""
    monkeypatch.setattr(spawner, "spawn", lambda *_, **__: Scorer())
    places = cast("Any", SimpleNamespace(of=lambda name: None))
    return spawner.Spawner(load(None, ["ray.start_timeout_s=300"]), places=places, model="", logs=Path())


def started_after(make: Callable[[], RewardActor]) -> float:
    """Seconds until the worker has started."""

    async def main() -> float:
        await make().start()
        return asyncio.get_running_loop().time()

    return run_virtual(main)


def test_a_search_that_is_down_ends_the_start_of_a_run(spawning: spawner.Spawner) -> None:
    with pytest.raises(SearchError, match="is gone"):
        started_after(functools.partial(spawning.scorer, Ask("reward-1", 1, 0), KNOWLEDGE))


def test_a_reward_worker_that_joins_a_run_while_the_search_is_down_waits_for_it(spawning: spawner.Spawner) -> None:
    def joining() -> RewardActor:
        added: list[RewardActor] = []
        actors = cast("Any", SimpleNamespace(reward=SimpleNamespace(add=added.append)))
        came = Group("reward", "SPREAD", (Bundle((Ask("reward-1", 1, 0),)),), required=False)
        runtime._add(actors, spawning, KNOWLEDGE, came)
        [worker] = added
        return worker

    assert DOWN_UNTIL_S <= started_after(joining) <= DOWN_UNTIL_S + 5
