"""Engine and learner take turns on one GPU: whose turn it is, and what has to happen between two turns.

In: the engines and the learner. Out: `TakingTurns`, which loop.py takes as its learner. Pure asyncio, no Ray.

    engines write | sleep - learner onto the GPU - update, publish - learner off the GPU - wake - take the version | ...

An engine that sleeps (vLLM's level 1) has its weights and adapters in the machine's memory and nothing of its KV cache;
prefixes and images that it had cached are forgotten, so that nothing stale survives. The learner off the GPU has base,
adapter and optimizer in the machine's memory, where it can be saved and loaded too; it starts there. Both therefore
have to fit the GPU one at a time only, and the machine's memory together.

Nothing may be under way when the engines go to sleep, which holds as long as loop.async_ratio is 0: every slot is then
taken by a group that is trained on now (rollout/buffer.py).
"""

from __future__ import annotations

from typing import Protocol

from fundus_ray.errors import ImagesError
from fundus_ray.loop import Learner, Published, Rollouts
from fundus_ray.obs.trace import Trace
from fundus_ray.types import StepResult, TrainBatch


class Sleepers(Rollouts, Protocol):
    """Engines that can give their GPU up for a while."""

    async def sleep(self) -> None:
        """Give it up. Raises WorkerDiedError where a request is under way."""

    async def wake(self) -> None:
        """Take it again; engines that are awake stay as they are."""


class Mover(Learner, Protocol):
    """A learner that can leave the GPU, and starts off it."""

    async def save(self, folder: str) -> None:
        """Its state into the folder."""

    async def load(self, folder: str) -> None:
        """What `save` wrote."""

    async def restart(self, *, limit_s: float) -> None:
        """New processes in the place of what is left of the old ones."""

    async def onload(self) -> None:
        """Onto the GPU; one that is there stays."""

    async def offload(self) -> None:
        """Into the machine's memory; one that is there stays."""


class TakingTurns:
    """The learner of a loop whose engines sleep while it works. Everything else of it may be called at any time."""

    def __init__(self, learner: Mover, *, engines: Sleepers, trace: Trace) -> None:
        """On entry engines are awake and the learner is off the GPU."""
        self._learner = learner
        self._engines = engines
        self._trace = trace

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch; afterwards it is still the learner's turn. Raises ImagesError at the engines' turn, as
        they are to write other groups in the place of those that it names."""
        with self._trace.span("sleep"):
            await self._engines.sleep()
            await self._learner.onload()
        try:
            return await self._learner.update(batch)
        except ImagesError:
            await self._give_back()
            raise

    async def publish(self) -> Published:
        """The version as it is now; the engines, awake, can take it."""
        published = await self._learner.publish()
        await self._give_back()
        return published

    async def save(self, folder: str) -> None:
        """Its state into the folder, wherever it lies."""
        await self._learner.save(folder)

    async def load(self, folder: str) -> None:
        """What `save` wrote, wherever it lies."""
        await self._learner.load(folder)

    async def restart(self, *, limit_s: float) -> None:
        """New processes, off the GPU: the engines wake, if they sleep, once a version is published."""
        await self._learner.restart(limit_s=limit_s)

    async def _give_back(self) -> None:
        with self._trace.span("wake"):
            await self._learner.offload()
            await self._engines.wake()
