"""The learner's ranks as one learner: every call goes to all of them, and they live and die together.

In: actors around learner/actor.py, made by `spawn`. Out: `LearnerRanks`, which loop.py takes as its learner.

An update is one computation of all ranks, which wait for each other inside it. So where one of them fails, the others
would wait in vain: all are ended and the error of the one that failed is raised. `restart` makes all of them anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fundus_ray.actors import Actor
from fundus_ray.errors import ImagesError, ProcessDiedError, WorkerDiedError
from fundus_ray.loop import Published
from fundus_ray.types import PolicyVersion, StepResult, TrainBatch

import ray  # isort: skip  # after actors.py, which settles how loud Ray is when it is imported

LOOPBACK = "127.0.0.1"
DEATH_S = 10.0  # a rank may tell of a lost connection before Ray tells which process it led to


class LearnerRanks:
    """The policy's owner. Rank 0 publishes and saves."""

    def __init__(self, spawn: Callable[[], Sequence[Actor]], *, limit_s: float) -> None:
        """`spawn` makes an actor a rank, in order, and new ones in their place; limit_s: longest update, publication,
        save or load [s]."""
        self._spawn = spawn
        self._limit_s = limit_s
        self._actors = tuple(spawn())

    async def start(self, *, limit_s: float) -> None:
        """Let the ranks meet and load the policy, within limit_s seconds in all."""
        now = asyncio.get_running_loop().time
        last = now() + limit_s
        meetings: list[tuple[str, int, str] | None] = [None]
        if len(self._actors) > 1:
            addresses = await self._all("address", doing="starting", limit_s=limit_s)
            if len(set(addresses)) == 1:  # all on one machine: nothing needs to be seen from outside
                addresses = [LOOPBACK] * len(addresses)
            port = await self._actors[0].call("listen", addresses[0], doing="starting", limit_s=last - now())
            meetings = [(addresses[0], port, own) for own in addresses]
        await self._each("start", [(m,) for m in meetings], doing="loading the policy", limit_s=last - now())

    async def restart(self, *, limit_s: float) -> None:
        """End what is left of the ranks, make all of them anew and load the policy as it was before any update, within
        limit_s seconds in all. The caller then loads a checkpoint."""
        self._end()
        self._actors = tuple(self._spawn())
        await self.start(limit_s=limit_s)

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch. Raises ImagesError before any rank begins where one of them cannot read some images:
        in the middle of an update the others would wait for it."""
        doing = f"looking for the images of the update of policy version {batch.policy_step}"
        reasons: dict[int, str] = {}
        for found in await self._all("unreadable", batch.images, doing=doing, limit_s=self._limit_s):
            reasons |= found
        if reasons:
            raise ImagesError(reasons)
        doing = f"updating policy version {batch.policy_step}"
        # Once into the object store: every rank's machine fetches it once, and ranks on one machine share its memory.
        shared = batch if len(self._actors) == 1 else ray.put(batch)
        result: StepResult = (await self._all("update", shared, doing=doing, limit_s=self._limit_s))[0]
        return result

    async def publish(self) -> Published:
        """The version as it is now; its bytes stay in the object store, on this machine too: an engine that comes back
        after the learner's machine was lost still needs them."""
        version: PolicyVersion
        version, payload = (await self._all("publish", doing="publishing", limit_s=self._limit_s, returns=2))[0]
        here, _ = await asyncio.to_thread(ray.wait, [payload], timeout=self._limit_s, fetch_local=True)
        if not here:
            raise WorkerDiedError(
                f"{self._actors[0].name} published policy version {version.step}, but it did not come to the driver's "
                f"machine within {self._limit_s:g} s (loop.stall_s): the object store of one of the two may be full"
            )
        return Published(version=version, payload=payload)

    async def onload(self) -> None:
        """Onto the GPU, from where `offload` left it."""
        await self._all("onload", doing="taking its GPU", limit_s=self._limit_s)

    async def offload(self) -> None:
        """Into the machine's memory, so that its GPU is free."""
        await self._all("offload", doing="giving its GPU up", limit_s=self._limit_s)

    async def save(self, folder: str) -> None:
        """Adapter, optimizer and step into the folder, on rank 0's machine."""
        await self._all("save", folder, doing=f"saving to {folder}", limit_s=self._limit_s)

    async def load(self, folder: str) -> None:
        """What `save` wrote, on every rank: the folder is one that all their machines share."""
        await self._all("load", folder, doing=f"loading {folder}", limit_s=self._limit_s)

    async def _all(self, method: str, *args: Any, doing: str, limit_s: float, returns: int = 1) -> list[Any]:
        """The same arguments for every rank."""
        each = [args] * len(self._actors)
        return await self._each(method, each, doing=doing, limit_s=limit_s, returns=returns)

    async def _each(
        self, method: str, arguments: Sequence[tuple[Any, ...]], *, doing: str, limit_s: float, returns: int = 1
    ) -> list[Any]:
        """One answer a rank. Where one fails: ends all ranks, and raises ProcessDiedError naming it where its process
        is gone, else what the first one that failed raised."""
        calls = [
            asyncio.create_task(actor.call(method, *args, doing=doing, limit_s=limit_s, returns=returns))
            for actor, args in zip(self._actors, arguments, strict=True)
        ]
        try:
            await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
            if _errors(calls) and len(calls) > 1:
                await _until_a_death_is_told(calls)
                self._end()
            for err in sorted(_errors(calls), key=lambda err: not isinstance(err, ProcessDiedError)):
                raise err
            return [call.result() for call in calls]
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _end(self) -> None:
        for actor in self._actors:
            ray.kill(actor.handle)


def _errors(calls: Sequence[asyncio.Task[Any]]) -> list[BaseException]:
    return [err for call in calls if call.done() and (err := call.exception()) is not None]


async def _until_a_death_is_told(calls: Sequence[asyncio.Task[Any]]) -> None:
    """Where a process died, the first error may be that of another rank, which lost its connection to it."""
    last = asyncio.get_running_loop().time() + DEATH_S
    while not any(isinstance(err, ProcessDiedError) for err in _errors(calls)):
        pending, left = [call for call in calls if not call.done()], last - asyncio.get_running_loop().time()
        if not pending or left <= 0:
            return
        await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
