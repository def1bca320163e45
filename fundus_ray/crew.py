"""Engines that do the same work: which one is next, and those that die.

In: engines, each an actor with time limits of its own (actors.py). Out: `Crew`, on which the pools of engines rest
(engine_pool.py, model_pool.py). Pure asyncio, no Ray.

An engine whose process dies is started again, `restarts` times in all; meanwhile the others go on, and what it had
under way is done by others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

from fundus_ray.errors import ProcessDiedError
from fundus_ray.gather import all_or_first_error, errors_of
from fundus_ray.obs.trace import Trace
from fundus_ray.rollout.balance import Balance

log = logging.getLogger(__name__)
T = TypeVar("T")


class Engine(Protocol):
    """Every call has a time limit and raises ProcessDiedError where the engine's process is gone."""

    @property
    def name(self) -> str:
        """As in errors and spans."""

    async def start(self) -> None:
        """Load the model."""

    async def close(self, *, limit_s: float) -> None:
        """Stop the engine's own processes."""

    def again(self) -> Any:
        """A new engine of the same kind, not yet started, in the place of this one, whose remains are ended."""


E = TypeVar("E", bound=Engine)


class Crew(Generic[E]):
    """A call goes to the engine with the fewest under way."""

    def __init__(
        self,
        engines: Sequence[E],
        *,
        restarts: int,
        admit: Callable[[E], AbstractAsyncContextManager[None]],
        trace: Trace,
    ) -> None:
        """A death after `restarts` restarts is raised. `admit`: what is around the moment in which an engine that was
        started again joins the others."""
        self.engines = list(engines)
        self._balance = Balance(len(engines))
        self._restarts_left = restarts
        self._admit = admit
        self._trace = trace
        self._returns: set[asyncio.Task[None]] = set()  # engines that are being started again
        self._changed = asyncio.Event()  # an engine came back, or cannot
        self._error: BaseException | None = None

    @property
    def here(self) -> dict[int, E]:
        """Those that calls may go to."""
        return {index: self.engines[index] for index in sorted(self._balance.here)}

    async def call(self, work: Callable[[E], Awaitable[T]]) -> T:
        """The work of one engine; of another one where it dies."""
        while True:
            await self.some_engine()
            with self._balance.lease() as index:
                engine = self.engines[index]
                try:
                    return await work(engine)
                except ProcessDiedError as err:
                    self._lost(index, engine, err)

    async def of_each(self, engines: Mapping[int, E], work: Callable[[E], Coroutine[Any, Any, T]]) -> dict[int, T]:
        """index -> result, without the engines that died meanwhile."""

        async def survive(index: int, engine: E) -> list[T]:
            try:
                return [await work(engine)]
            except ProcessDiedError as err:
                self._lost(index, engine, err)
                return []

        results = await all_or_first_error([survive(index, engine) for index, engine in engines.items()])
        return {index: result[0] for index, result in zip(engines, results, strict=True) if result}

    async def some_engine(self) -> None:
        """Wait until an engine is here. A start has a time limit, hence so has this."""
        while not self._balance.here and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        self.raise_error()

    def raise_error(self) -> None:
        """What ended the crew, if anything did."""
        if self._error is not None:
            raise self._error

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines' own processes, each within limit_s; what went wrong is returned, as the end goes on."""
        for task in self._returns:
            task.cancel()
        await asyncio.gather(*self._returns, return_exceptions=True)
        return await errors_of([engine.close(limit_s=limit_s) for engine in self.here.values()])

    def _lost(self, index: int, engine: E, err: ProcessDiedError) -> None:
        """Start the engine again, unless another of its calls has told of its death before. Raises `err` where it is
        not to be."""
        self.raise_error()
        if self.engines[index] is not engine or index not in self._balance.here:
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
        with self._trace.span("restart", worker=self.engines[index].name):
            while True:
                self.engines[index] = engine = self.engines[index].again()
                try:
                    await engine.start()
                    async with self._admit(engine):
                        self._balance.join(index)
                        return
                except ProcessDiedError as err:
                    self._spend_restart(err)

    def _note_return(self, task: asyncio.Task[None]) -> None:
        self._returns.discard(task)
        if not task.cancelled():
            self._error = self._error or task.exception()
        self._changed.set()
