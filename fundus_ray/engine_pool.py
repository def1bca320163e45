"""All rollout engines as one: who writes the next prompt, how a version becomes live, and engines that die.

In: engines, each an actor with time limits of its own (actors.py). Out: `RolloutPool`, which loop.py takes as a part.
Pure asyncio, no Ray.

A version becomes live in two steps: every engine takes it, beside those under which requests still run, and proves that
it has it; only when all have proven it are they told to write under it. So all engines take a version or none does, and
no request waits for it.

An engine whose process dies is started again, `restarts` times in a run. Before it is given a prompt it takes the
newest version, with proof; meanwhile the others go on. The groups that it was writing are written again, under the
newest version, which makes them younger only: the bound on lag holds (rollout/buffer.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from fundus_ray.errors import ProcessDiedError
from fundus_ray.gather import all_or_first_error, errors_of
from fundus_ray.loop import Published
from fundus_ray.obs.trace import Trace
from fundus_ray.rollout.balance import Balance
from fundus_ray.rollout.delivery import check_proofs
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, RolloutGroup, Sampling

log = logging.getLogger(__name__)
T = TypeVar("T")


class RolloutEngine(Protocol):
    """One engine. Every call has a time limit and raises ProcessDiedError where the engine's process is gone."""

    @property
    def name(self) -> str:
        """As in errors, spans and proofs."""

    async def start(self) -> None:
        """Load the model."""

    async def take(self, published: Published) -> DeliveryProof:
        """Hold the version beside those that are in use, and prove it."""

    async def serve(self, version: PolicyVersion) -> None:
        """From now on write under this version, which it holds."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """All rollouts of the prompt."""

    async def close(self, *, limit_s: float) -> None:
        """Stop the engine's own processes."""

    def again(self) -> RolloutEngine:
        """A new engine, not yet started, in the place of this one, whose remains are ended."""


class RolloutPool:
    """A prompt goes to the engine with the fewest under way."""

    def __init__(
        self,
        engines: Sequence[RolloutEngine],
        *,
        sampling: Sampling,
        probe_tolerance: float,
        restarts: int,
        trace: Trace,
    ) -> None:
        """`sampling` is that of training; probe_tolerance in nats; a death after `restarts` restarts is raised."""
        self._engines = list(engines)
        self._balance = Balance(len(engines))
        self._sampling = sampling
        self._probe_tolerance = probe_tolerance
        self._restarts_left = restarts
        self._trace = trace
        self._live: Published | None = None  # what every engine that is here writes under
        self._delivering = asyncio.Lock()
        self._returns: set[asyncio.Task[None]] = set()  # engines that are being started again
        self._changed = asyncio.Event()  # an engine came back, or cannot
        self._error: BaseException | None = None
        self._proofs_of_returned: list[DeliveryProof] = []

    async def generate(self, prompt: Prompt, sampling: Sampling | None = None) -> RolloutGroup:
        """All rollouts of the prompt from one engine, under the newest version; from another one where it dies."""
        while True:
            await self._some_engine()
            with self._balance.lease() as index:
                engine = self._engines[index]
                with self._trace.span("generate", worker=engine.name, group=prompt.group_id):
                    try:
                        return await engine.generate(prompt, sampling or self._sampling)
                    except ProcessDiedError as err:
                        self._lost(index, engine, err)

    async def set_policy(self, published: Published) -> list[DeliveryProof]:
        """Make the version live in every engine; the proofs, with those of engines that came back since the last call.

        Raises DeliveryError, after which no engine writes under it, and WorkerDiedError.
        """
        async with self._delivering:
            if self._error is not None:
                raise self._error
            # These engines and no others: one that dies now and returns takes the version on its return.
            engines = {index: self._engines[index] for index in sorted(self._balance.here)}
            taken = await self._of_each(engines, lambda engine: engine.take(published))
            self._check(published, list(taken.values()), engines=[engines[index] for index in taken])
            self._live = published
            proven = {index: engines[index] for index in taken}
            await self._of_each(proven, lambda engine: engine.serve(published.version))
        await self._some_engine()  # where all of them died: the first to come back takes this version
        proofs = [*taken.values(), *self._proofs_of_returned]
        self._proofs_of_returned.clear()
        return proofs

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines' own processes, each within limit_s; what went wrong is returned, as the end goes on."""
        for task in self._returns:
            task.cancel()
        await asyncio.gather(*self._returns, return_exceptions=True)
        return await errors_of([self._engines[index].close(limit_s=limit_s) for index in sorted(self._balance.here)])

    async def _some_engine(self) -> None:
        """Wait until an engine is here. A start has a time limit, hence so has this."""
        while not self._balance.here and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def _of_each(
        self, engines: Mapping[int, RolloutEngine], call: Callable[[RolloutEngine], Coroutine[Any, Any, T]]
    ) -> dict[int, T]:
        """index -> result, without the engines that died meanwhile."""

        async def survive(index: int, engine: RolloutEngine) -> list[T]:
            try:
                return [await call(engine)]
            except ProcessDiedError as err:
                self._lost(index, engine, err)
                return []

        results = await all_or_first_error([survive(index, engine) for index, engine in engines.items()])
        return {index: result[0] for index, result in zip(engines, results, strict=True) if result}

    def _lost(self, index: int, engine: RolloutEngine, err: ProcessDiedError) -> None:
        """Start the engine again, unless another of its calls has told of its death before. Raises `err` where it is
        not to be."""
        if self._error is not None:
            raise self._error
        if self._engines[index] is not engine or index not in self._balance.here:
            return
        self._spend_restart(err)
        self._balance.leave(index)
        task = asyncio.create_task(self._return(index), name=f"restart of {engine.name}")
        self._returns.add(task)
        task.add_done_callback(self._note_return)

    def _spend_restart(self, err: ProcessDiedError) -> None:
        if not self._restarts_left:
            self._error = err
            self._changed.set()
            raise err
        self._restarts_left -= 1
        log.warning(
            "%s\nIt is started again; %d more restarts are allowed (rollout.restarts)", err, self._restarts_left
        )

    async def _return(self, index: int) -> None:
        with self._trace.span("restart", worker=self._engines[index].name):
            while True:
                self._engines[index] = engine = self._engines[index].again()
                try:
                    await engine.start()
                    async with self._delivering:  # no version may become live between its proof and its first prompt
                        if self._live is not None:
                            proof = await engine.take(self._live)
                            self._check(self._live, [proof], engines=[engine])
                            await engine.serve(self._live.version)
                            self._proofs_of_returned.append(proof)
                        self._balance.join(index)
                        return
                except ProcessDiedError as err:
                    self._spend_restart(err)

    def _note_return(self, task: asyncio.Task[None]) -> None:
        self._returns.discard(task)
        if not task.cancelled():
            self._error = self._error or task.exception()
        self._changed.set()

    def _check(
        self, published: Published, proofs: Sequence[DeliveryProof], *, engines: Sequence[RolloutEngine]
    ) -> None:
        names = [engine.name for engine in engines]
        check_proofs(published.version, proofs, engines=names, tolerance=self._probe_tolerance)
