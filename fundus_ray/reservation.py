"""Places in the cluster: reserved before an actor starts, waited for with reports and a limit, given back.

In: the groups of places.py. Out: `Places`, which says where each actor is to start. For a process that is connected.

A group is placed as a whole or not at all (Ray's placement groups), and groups in one fixed order. Two jobs that each
hold one group and wait for the other's would still wait for ever: so the younger of two jobs that wait gives back what
it holds until the older one has its places.

What a run can start without is asked for after what it needs, stays asked for while the run goes on, and is how a
cluster that adds machines knows that one is missed. A place whose machine leaves is asked for again by Ray itself; an
actor that is started again waits for it in its own group. Nothing spare is asked for meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fundus_ray.cluster import machines
from fundus_ray.errors import NoPlaceError
from fundus_ray.places import Group, Node, fits
from fundus_ray.progress import say

# isort: split
import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

log = logging.getLogger(__name__)

REPORT_S = 10.0  # between two reports of what is waited for
LOOK_S = 5.0  # between two looks at what came and what is lost
GIVEN_WAY_S = 1.0  # between two looks whether the older job has its places
# Names of placement groups; the job's number follows.
NEEDED, SPARE = "fundus_ray needed by job", "fundus_ray spare of job"

_numbers = itertools.count()


class Places:
    """Where each actor is to start."""

    def __init__(self, groups: Sequence[Group]) -> None:
        groups = [group for group in groups if group.bundles and all(bundle.wants for bundle in group.bundles)]
        self._needed = [group for group in groups if group.required]
        self._spare = [group for group in groups if not group.required]
        self._held: dict[Group, PlacementGroup] = {}
        self._job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id())).int()

    def of(self, name: str) -> Any:
        """Ray's scheduling strategy for the actor: its place; or, where it asks for nothing that could be reserved, a
        machine with few others."""
        for group, held in self._held.items():
            for index, bundle in enumerate(group.bundles):
                if any(ask.name == name for ask in bundle.asks):
                    return PlacementGroupSchedulingStrategy(held, placement_group_bundle_index=index)
        return "SPREAD"

    async def reserve(self, *, limit_s: float, at_once: bool) -> None:
        """Wait until all that is needed has its place. `at_once`: ask for all groups before the first one is placed, so
        that a cluster that adds machines adds all of them together.

        Raises NoPlaceError after limit_s seconds, with nothing held any more.
        """
        end = asyncio.get_running_loop().time() + limit_s
        try:
            while not await self._placed_or_given_way(end=end, limit_s=limit_s, at_once=at_once):
                self.release()
                await self._until_older_jobs_are_placed(end=end, limit_s=limit_s)
        except BaseException:
            self.release()
            raise

    @asynccontextmanager
    async def kept(self, came: Callable[[Group], None]) -> AsyncIterator[None]:
        """While the body runs: ask for places of what is not needed, and say which come and which are lost. `came` is
        told of each of the former once."""
        keeping = asyncio.create_task(self._keep(came), name="places")
        keeping.add_done_callback(_tell_end)
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)  # an error was told when it came

    def release(self) -> None:
        """Give every place back; what runs there is ended. Where the cluster is gone, so are the places: the error that
        is on its way says more."""
        try:
            for held in self._held.values():
                remove_placement_group(held)
        except RayError as err:
            log.warning("places were not given back, which the job's end does as well: %s", err)
        self._held.clear()

    async def _keep(self, came: Callable[[Group], None]) -> None:
        here = {bundle.name: True for group in self._held for bundle in group.bundles}
        told: set[Group] = set()
        while True:
            table = await asyncio.to_thread(placement_group_table)
            for group, held in self._held.items():
                self._tell(group, table[held.id.hex()]["bundles_to_node_id"], here)
            waiting = [group for group in self._spare if group not in told]
            for group in waiting:
                if group in self._held and here[group.bundles[0].name]:
                    told.add(group)
                    came(group)
            self._ask_for_spare(waiting, lost=not all(here[b.name] for group in self._needed for b in group.bundles))
            await asyncio.sleep(LOOK_S)

    def _tell(self, group: Group, nodes: Mapping[int, str], here: dict[str, bool]) -> None:
        for index, bundle in enumerate(group.bundles):
            placed = bool(nodes[index])
            if placed != here.get(bundle.name, False):
                say(f"{bundle.name} {'has its place' if placed else 'lost its machine, and waits for another'}")
            here[bundle.name] = placed

    def _ask_for_spare(self, waiting: Sequence[Group], *, lost: bool) -> None:
        """Unless something needed has lost its place: a spare one that waits longer could be given it."""
        for group in waiting:
            if not lost:
                self._ask(group)
            elif group in self._held:
                remove_placement_group(self._held.pop(group))

    def _ask(self, group: Group) -> PlacementGroup:
        if group not in self._held:
            # Ray wants each name once, also after a group was given back, which takes it a moment.
            name = f"{NEEDED if group.required else SPARE} {self._job}: {group.bundles[0].name} ({next(_numbers)})"
            bundles = [bundle.wants for bundle in group.bundles]
            self._held[group] = placement_group(bundles, strategy=group.strategy, name=name)
        return self._held[group]

    async def _placed_or_given_way(self, *, end: float, limit_s: float, at_once: bool) -> bool:
        """False where an older job waits as well."""
        if at_once:
            for group in self._needed:
                self._ask(group)
        now = asyncio.get_running_loop().time
        for group in self._needed:
            ready = asyncio.wrap_future(self._ask(group).ready().future())
            ready.add_done_callback(_note_error)
            while not (await asyncio.wait({ready}, timeout=max(0.0, min(REPORT_S, end - now()))))[0]:
                lacking = lack(group, machines())
                if now() >= end:
                    raise NoPlaceError(f"no place within {limit_s:g} s (ray.start_timeout_s): {lacking}")
                if older_that_wait(placement_group_table(), job=self._job):
                    return False
                say(f"waiting for places, {limit_s - (end - now()):.0f} of {limit_s:g} s: {lacking}")
            ready.result()
        return True

    async def _until_older_jobs_are_placed(self, *, end: float, limit_s: float) -> None:
        now, said = asyncio.get_running_loop().time, -REPORT_S
        while older := older_that_wait(placement_group_table(), job=self._job):
            words = f"Ray job {older[0]} has waited longer and goes first"
            if now() >= end:
                raise NoPlaceError(f"no place within {limit_s:g} s (ray.start_timeout_s): {words}")
            if now() - said >= REPORT_S:
                said = now()
                say(f"waiting for places, {limit_s - (end - now()):.0f} of {limit_s:g} s: {words}")
            await asyncio.sleep(GIVEN_WAY_S)


@asynccontextmanager
async def reserved(groups: Sequence[Group], *, limit_s: float, at_once: bool) -> AsyncIterator[Places]:
    """Places for all that is needed, given back at the end. Raises NoPlaceError."""
    places = Places(groups)
    await places.reserve(limit_s=limit_s, at_once=at_once)
    try:
        yield places
    finally:
        places.release()


def lack(group: Group, nodes: Sequence[Node]) -> str:
    """Which bundles of the group have no place on what is free now, and why; in one line."""
    lost = [verdict for verdict in fits([group], nodes) if verdict.node is None]
    if not lost:
        return f"{group.bundles[0].name} is about to be placed"
    more = f", as {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"{lost[0].bundle} waits{more}: {lost[0].why}"


def older_that_wait(table: Mapping[str, Mapping[str, Any]], *, job: int) -> list[int]:
    """Numbers of the jobs that began before `job` and still wait for places that they need, by Ray's table of
    placement groups."""
    waiting = set()
    for group in table.values():
        if group["state"] == "PENDING" and group["name"].startswith(NEEDED):
            waiting.add(int(group["name"].removeprefix(NEEDED).partition(":")[0]))
    return sorted(number for number in waiting if number < job)


def _tell_end(keeping: asyncio.Task[None]) -> None:
    """At once, not at the run's end: it may go on for days with fewer actors than it was given."""
    if not keeping.cancelled() and (err := keeping.exception()) is not None:
        log.warning(
            "places are no longer looked after, so that no actor joins this run any more; resume it to have those that "
            "are missing: %s: %s",
            type(err).__name__,
            err,
        )


def _note_error(ready: asyncio.Future[Any]) -> None:
    """Of a group that was given back before it was placed: known, and no news to asyncio."""
    if not ready.cancelled():
        ready.exception()
