"""All rollout engines as one: who writes the next prompt, and how a version becomes live.

In: engines, each an actor with time limits of its own (actors.py). Out: `RolloutPool`, which loop.py takes as a part.
Pure asyncio, no Ray.

A version becomes live in two steps: every engine takes it, beside those under which requests still run, and proves that
it has it; only when all have proven it are they told to write under it. So all engines take a version or none does, and
no request waits for it.

An engine whose process dies, or that hangs, is started again (crew.py). Before it is given a prompt it takes the
newest version, with proof; meanwhile the others go on. The groups that it was writing are written again, under the
newest version, which makes them younger only: the bound on lag holds (rollout/buffer.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from fundus_ray.crew import Care, Crew, Worker
from fundus_ray.loop import Published
from fundus_ray.obs.trace import Trace
from fundus_ray.rollout.delivery import check_proofs
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, RolloutGroup, Sampling


class RolloutEngine(Worker, Protocol):
    """One engine. Every call has a time limit and raises ProcessDiedError where the engine's process is gone."""

    async def take(self, published: Published) -> DeliveryProof:
        """Hold the version beside those that are in use, and prove it."""

    async def serve(self, version: PolicyVersion) -> None:
        """From now on write under this version, which it holds."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """All rollouts of the prompt."""

    async def sleep(self) -> None:
        """Give the GPU up until `wake`; nothing may be under way."""

    async def wake(self) -> None:
        """Take the GPU again, unless it is awake."""


class RolloutPool:
    """A prompt goes to the engine with the fewest under way."""

    def __init__(
        self,
        engines: Sequence[RolloutEngine],
        *,
        sampling: Sampling,
        probe_tolerance: float,
        care: Care,
        trace: Trace,
    ) -> None:
        """`sampling` is that of training; probe_tolerance in nats; a death after the last restart is raised."""
        self._crew: Crew[RolloutEngine] = Crew(engines, care=care, admit=self._up_to_date, trace=trace)
        self._sampling = sampling
        self._probe_tolerance = probe_tolerance
        self._trace = trace
        self._live: Published | None = None  # what every engine that is here writes under
        self._delivering = asyncio.Lock()
        self._proofs_of_returned: list[DeliveryProof] = []

    async def generate(self, prompt: Prompt, sampling: Sampling | None = None) -> RolloutGroup:
        """All rollouts of the prompt from one engine, under the newest version; from another one where it dies."""

        async def write(engine: RolloutEngine) -> RolloutGroup:
            with self._trace.span("generate", worker=engine.name, group=prompt.group_id):
                return await engine.generate(prompt, sampling or self._sampling)

        return await self._crew.call(write, of=prompt)

    def add(self, engine: RolloutEngine) -> None:
        """One more, which has not started: it takes the newest version, then prompts."""
        self._crew.add(engine)

    async def set_policy(self, published: Published) -> list[DeliveryProof]:
        """Make the version live in every engine; the proofs, with those of engines that came back since the last call.

        Raises DeliveryError, after which no engine writes under it, and WorkerDiedError.
        """
        async with self._delivering:
            self._crew.raise_error()
            # These engines and no others: one that dies now and returns takes the version on its return.
            engines = self._crew.here
            taken = await self._crew.of_each(engines, lambda engine: engine.take(published))
            self._check(published, list(taken.values()), engines=[engines[index] for index in taken])
            self._live = published
            proven = {index: engines[index] for index in taken}
            await self._crew.of_each(proven, lambda engine: engine.serve(published.version))
        await self._crew.some_worker()  # where all of them died: the first to come back takes this version
        proofs = [*taken.values(), *self._proofs_of_returned]
        self._proofs_of_returned.clear()
        return proofs

    async def sleep(self) -> None:
        """Have the engines give their GPU up. Where all of them die of it, the first that is back sleeps. One that dies
        from then on comes back after `wake`: it would load its model onto a GPU that is not its own."""
        asleep = False
        while not asleep:
            await self._crew.some_worker()
            async with self._delivering:
                engines = self._crew.here
                asleep = len(await self._crew.of_each(engines, lambda engine: engine.sleep())) == len(engines) > 0
                if asleep:
                    self._crew.hold_starts()

    async def wake(self) -> None:
        """Have every engine take its GPU again."""
        self._crew.allow_starts()
        async with self._delivering:
            await self._crew.of_each(self._crew.here, lambda engine: engine.wake())

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines' own processes, each within limit_s; what went wrong is returned, as the end goes on."""
        return await self._crew.close(limit_s=limit_s)

    @asynccontextmanager
    async def _up_to_date(self, engine: RolloutEngine) -> AsyncIterator[None]:
        """The engine under the newest version, while no other can become live: none may between its proof and its
        first prompt."""
        async with self._delivering:
            if self._live is not None:
                proof = await engine.take(self._live)
                self._check(self._live, [proof], engines=[engine])
                await engine.serve(self._live.version)
                self._proofs_of_returned.append(proof)
            yield

    def _check(
        self, published: Published, proofs: Sequence[DeliveryProof], *, engines: Sequence[RolloutEngine]
    ) -> None:
        names = [engine.name for engine in engines]
        check_proofs(published.version, proofs, engines=names, tolerance=self._probe_tolerance)
