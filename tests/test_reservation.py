"""Places on a real Ray cluster of several machines, all of them processes of this one; the actors are plain classes, as
it is Ray's placement that is looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from fundus_ray import reservation
from fundus_ray.actors import Actor
from fundus_ray.cluster import spawn
from fundus_ray.errors import NodeLeftError, NoPlaceError, WorkerDiedError
from fundus_ray.places import Ask, Bundle, Group
from fundus_ray.reservation import NEEDED, Places, older_that_wait, reserved

# isort: split
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RpcError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two machines of two CPUs each."""
    with pytest.MonkeyPatch.context() as patch:
        # Another cluster's address, which `ray.address=auto` reads, is not this one's to overwrite.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_, **__: None)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            cluster.add_node(num_cpus=2)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def group(name: str, count: int, *, cpus: float = 1.0, strategy: str = "SPREAD", required: bool = True) -> Group:
    bundles = tuple(Bundle((Ask(f"{name}-{i}", cpus, 0.0),)) for i in range(count))
    return Group("rollout", strategy, bundles, required)


def actor(places: Places, name: str, *, cpus: float = 1.0) -> Actor:
    class Where:  # in here, as Ray then carries it to a process that need not import this file
        """Says on which machine it is."""

        def node(self) -> str:
            """Ray's id of the machine."""
            return str(ray.get_runtime_context().get_node_id())

    return spawn(Ask(name, cpus, 0.0), Where, threads=1, place=places.of(name))


async def node_of(actor: Actor) -> str:
    node: str = await actor.call("node", doing="telling its machine", limit_s=LIMIT_S)
    return node


@asynccontextmanager
async def places_for(*groups: Group, limit_s: float = LIMIT_S) -> AsyncIterator[Places]:
    async with reserved(groups, limit_s=limit_s, at_once=False) as places:
        yield places


async def test_engines_are_spread_and_ranks_are_packed(cluster: Cluster) -> None:
    engines = group("engine", 2, cpus=0.5)
    ranks = group("rank", 3, cpus=0.5, strategy="PACK")
    async with places_for(engines, ranks, group("scorer", 1, cpus=0.0)) as places:
        there = {
            found["name"].split(": ")[1].split(" ")[0]: found["bundles_to_node_id"]
            for found in placement_group_table().values()
            if found["state"] == "CREATED"
        }
        assert len(set(there["engine-0"].values())) == 2
        assert len(set(there["rank-0"].values())) == 1
        actors = [actor(places, name, cpus=0.5) for name in ("engine-0", "engine-1")]
        assert await asyncio.gather(*(node_of(a) for a in actors)) == [there["engine-0"][0], there["engine-0"][1]]
        assert places.of("scorer-0") == "SPREAD"  # it asks for nothing that could be reserved


async def test_no_place_within_the_limit_names_what_waits_and_what_there_is_and_holds_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reservation, "REPORT_S", 0.2)
    with pytest.raises(NoPlaceError) as caught:
        async with places_for(group("learner", 1, cpus=3.0), limit_s=0.7):
            pass
    message = str(caught.value)
    assert message.startswith(
        "no place within 0.7 s (ray.start_timeout_s): learner-0 waits: no machine has 3 CPUs free: "
    )
    assert message.count(" of 2 CPUs") == 2
    assert "== waiting for places, 0 of 0.7 s: learner-0 waits: " in capsys.readouterr().out
    async with places_for(group("all", 2, cpus=2.0)):  # nothing was left behind
        pass


async def test_a_run_that_loses_its_cluster_ends_with_its_own_error(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def remove(held: PlacementGroup) -> None:
        remove_placement_group(held)
        raise RpcError("RPC error: CANCELLED")  # as Ray 2.60 does where its head is going away

    monkeypatch.setattr(reservation, "remove_placement_group", remove)
    with pytest.raises(WorkerDiedError, match="the cause"):
        async with places_for(group("engine", 1)):
            raise WorkerDiedError("the cause")
    assert "places were not given back" in caplog.text


async def test_of_two_jobs_that_wait_the_younger_gives_back_what_it_holds(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, holds_one = list[str](), asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if "learner-0 waits: " in text:  # on a slow machine its engine may be told of as waiting before
            holds_one.set()

    monkeypatch.setattr(reservation, "REPORT_S", 0.2)
    monkeypatch.setattr(reservation, "GIVEN_WAY_S", 0.1)
    monkeypatch.setattr(reservation, "say", say)

    async def ask() -> None:
        async with places_for(group("engine", 1, cpus=2.0), group("learner", 1, cpus=2.0)):
            pass

    older = [placement_group([{"CPU": 2.0}], name=f"{NEEDED} 0: rollout-0")]  # one of the two machines
    try:
        await older[0].ready()
        younger = asyncio.create_task(ask())
        async with asyncio.timeout(LIMIT_S):
            await holds_one.wait()  # it has the other one, and waits
            older.append(placement_group([{"CPU": 2.0}], name=f"{NEEDED} 0: learner"))  # each waits for the other's
            await older[1].ready()
        assert not younger.done()
    finally:
        for held in older:
            remove_placement_group(held)
    await younger
    assert any(text.endswith("Ray job 0 has waited longer and goes first") for text in said)


async def test_places_that_are_no_longer_looked_after_are_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    class Unlucky(Places):
        def __init__(self) -> None:
            """Without Ray."""

        async def _keep(self, came: object) -> None:
            raise RuntimeError("no answer from the head")

    async with Unlucky().kept(lambda _: None):
        for _ in range(3):
            await asyncio.sleep(0)
        assert "no actor joins this run any more" in caplog.text
        assert "RuntimeError: no answer from the head" in caplog.text
    assert len(caplog.records) == 1


def test_only_needed_places_of_older_jobs_count() -> None:
    table = {
        "a": {"name": f"{NEEDED} 3: rollout", "state": "PENDING"},
        "b": {"name": f"{NEEDED} 4: rollout", "state": "CREATED"},
        "c": {"name": f"{NEEDED} 12: learner", "state": "PENDING"},
        "d": {"name": "fundus_ray spare of job 2: rollout", "state": "PENDING"},
        "e": {"name": "another", "state": "PENDING"},
    }
    assert older_that_wait(table, job=5) == [3]
    assert older_that_wait(table, job=13) == [3, 12]
    assert older_that_wait(table, job=3) == []


async def test_a_spare_place_comes_with_a_new_machine_and_a_lost_one_is_asked_for_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "LOOK_S", 0.2)
    said: list[str] = []
    monkeypatch.setattr(reservation, "say", said.append)
    came: asyncio.Queue[Group] = asyncio.Queue()
    engines, spare = group("engine", 2, cpus=2.0), group("spare", 1, cpus=2.0, required=False)
    async with places_for(engines, spare) as places, places.kept(came.put_nowait), asyncio.timeout(LIMIT_S):
        added = cluster.add_node(num_cpus=2)
        assert await came.get() == spare
        worker = actor(places, "spare-0", cpus=2.0)
        assert await node_of(worker) == added.node_id
        cluster.remove_node(added)
        with pytest.raises(NodeLeftError, match=r"spare-0 died while telling its machine: .*its node has died"):
            await node_of(worker)
        while "spare-0 lost its machine, and waits for another" not in said:
            await asyncio.sleep(0.1)
        again = asyncio.create_task(node_of(actor(places, "spare-0", cpus=2.0)))
        added = cluster.add_node(num_cpus=2)
        assert await again == added.node_id
    assert came.empty()
    assert said[:2] == ["spare-0 has its place", "spare-0 lost its machine, and waits for another"]


async def test_nothing_spare_is_asked_for_while_something_needed_has_lost_its_place(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "LOOK_S", 0.2)
    said: list[str] = []
    monkeypatch.setattr(reservation, "say", said.append)
    machine = cluster.add_node(num_cpus=3)
    # Names that no other test has: Ray also tells of groups that were removed.
    needed, spare = group("needed", 1, cpus=3.0), group("later", 1, cpus=4.0, required=False)

    def states() -> dict[str, str]:
        groups = placement_group_table().values()
        return {found["name"].split(": ")[1].split(" ")[0]: found["state"] for found in groups}

    async with places_for(needed, spare) as places, places.kept(lambda _: None), asyncio.timeout(LIMIT_S):
        while states().get("later-0") != "PENDING":
            await asyncio.sleep(0.1)
        cluster.remove_node(machine)
        while states()["later-0"] != "REMOVED":
            await asyncio.sleep(0.1)
        assert states()["needed-0"] == "RESCHEDULING"
        # A machine that either could have: it is the learner's.
        machine = cluster.add_node(num_cpus=4)
        while "needed-0 has its place" not in said:
            await asyncio.sleep(0.1)
        assert states()["needed-0"] == "CREATED"
