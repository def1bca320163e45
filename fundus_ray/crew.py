"""Workers that do the same work: which one is next, and those that die or hang.

In: workers, each an actor with time limits of its own (actors.py). Out: `Crew`, on which the pools rest
(engine_pool.py, model_pool.py, reward_pool.py). Pure asyncio, no Ray.

A worker whose process dies, or that hangs (watch.py), is started again, `restarts` times in all; meanwhile the others
go on, and what it had under way is done by others. It waits for a place in the cluster without a limit as long as
enough others are here. One whose machine left the cluster waits for another one, which counts as no restart.

A sample that kills its worker every time must not use up the restarts. Of each sample the deaths are counted at which
it was under way, until its work is done once. One with two goes on alone: no other such sample is under way with it. At
the third it is given up (SampleError), and the restarts that it cost are given back.

A worker that dies at its first start of all is not started again, as the crew is made of workers that have started: the
run ends, while nothing is lost yet. What kills there, as a rule too little memory, would kill at each start.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from fundus_ray.errors import NodeLeftError, ProcessDiedError, SampleError, WorkerDiedError
from fundus_ray.gather import all_or_first_error, errors_of
from fundus_ray.obs.faults import Fault, Tell, first_line, kind_of, restarts_spent
from fundus_ray.obs.trace import IdValue, Span, Trace
from fundus_ray.rollout.balance import Balance
from fundus_ray.types import Prompt, Pulse
from fundus_ray.watch import watch

log = logging.getLogger(__name__)
T = TypeVar("T")

SUSPECT, GUILTY = 2, 3  # deaths at which a sample was under way


class Worker(Protocol):
    """Every call but `placed` has a time limit and raises ProcessDiedError where the worker's process is gone."""

    @property
    def name(self) -> str:
        """As in errors and spans."""

    async def placed(self) -> None:
        """Wait until the cluster has a place for it."""

    async def start(self) -> None:
        """Load what it works with."""

    async def pulse(self) -> Pulse:
        """A sign of life."""

    async def close(self, *, limit_s: float) -> None:
        """Stop the worker's own processes."""

    def again(self) -> Any:
        """A new worker of the same kind, not yet started, in the place of this one, whose remains are ended."""


W = TypeVar("W", bound=Worker)


@dataclass(frozen=True, slots=True)
class Care:
    """How a crew is looked after. `tell` hears of each fault once it is mended, or followed by another."""

    role: str  # "engine" | "reward", as in spans, metrics and faults.jsonl
    setting: str  # of `restarts`
    restarts: int
    hang_s: float = math.inf  # without a sign of life; inf = nobody is asked for one
    place_s: float = math.inf  # longest wait for a place in the cluster while fewer than `at_least` are here
    at_least: int = 1
    tell: Tell = lambda _: None


class _Life(Generic[W]):
    """A worker until its death, and what is under way there."""

    def __init__(self, worker: W) -> None:
        self.worker = worker
        self.death: ProcessDiedError | None = None
        self.watch: asyncio.Task[Any] | None = None
        self._calls: dict[asyncio.Timeout, Prompt | None] = {}

    async def run(self, work: Callable[[W], Awaitable[T]], *, of: Prompt | None = None) -> T:
        """The work's result. Raises ProcessDiedError at once where the worker dies, whoever finds out."""
        if self.death is not None:
            raise self.death
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._calls[scope] = of
                return await work(self.worker)
        except TimeoutError:
            if scope.expired() and self.death is not None:
                raise self.death from None
            raise
        finally:
            self._calls.pop(scope, None)

    def end(self, death: ProcessDiedError) -> list[Prompt]:
        """Every call that is under way raises the death; what they are about."""
        self.death = death
        now = asyncio.get_running_loop().time()
        for scope in self._calls:
            scope.reschedule(now)
        return [prompt for prompt in self._calls.values() if prompt is not None]

    def unwatch(self) -> None:
        if self.watch is not None:
            self.watch.cancel()


class Crew(Generic[W]):
    """A call goes to the worker with the fewest under way."""

    def __init__(
        self,
        workers: Sequence[W],
        *,
        care: Care,
        admit: Callable[[W], AbstractAsyncContextManager[None]],
        trace: Trace,
    ) -> None:
        """For workers that have started, inside a running event loop. `admit`: what is around the moment in which a
        worker that was started again joins the others."""
        self._lives = [_Life(worker) for worker in workers]
        self._balance = Balance(len(workers))
        self._care = care
        self._restarts_left = care.restarts
        self._admit = admit
        self._trace = trace
        self._entries: set[asyncio.Task[None]] = set()  # workers that are being started
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._changed = asyncio.Event()  # a worker came, or cannot
        self._error: BaseException | None = None
        self._died: Counter[str] = Counter()  # by worker
        self._deaths_of: Counter[str] = Counter()  # by sample that was under way
        self._one_suspect = asyncio.Lock()
        self._stays: dict[int, ExitStack] = {}  # of each that is here, as a span
        for index in range(len(workers)):
            self._note_stay(index)
            self._watch(index)

    @property
    def here(self) -> dict[int, W]:
        """Those that calls may go to."""
        return {index: self._lives[index].worker for index in sorted(self._balance.here)}

    def hold_starts(self) -> None:
        """From now on a worker that has died is not started again before `allow_starts`."""
        self._may_start.clear()

    def allow_starts(self) -> None:
        """Those that wait start, and others at once."""
        self._may_start.set()

    def add(self, worker: W) -> None:
        """One more, which has not started: it joins the others once it has a place and has started."""
        self._lives.append(_Life(worker))
        self._enter(self._balance.add(), fault=None)

    async def call(self, work: Callable[[W], Awaitable[T]], *, of: Prompt | None = None) -> T:
        """The work of one worker; of another one where it dies. Raises SampleError where the sample that the work is
        about is given up, WorkerDiedError where a worker dies after the last restart."""
        while True:
            suspect = of is not None and self._deaths_of[of.sample.id] >= SUSPECT
            async with self._one_suspect if suspect else nullcontext():
                await self.some_worker()
                with self._balance.lease() as index:
                    life = self._lives[index]
                    try:
                        result = await life.run(work, of=of)
                    except ProcessDiedError as err:
                        self._lose(index, life, err, of=of)
                    else:
                        if of is not None:  # it kills no worker; a long run's deaths are not to add up against it
                            self._deaths_of.pop(of.sample.id, None)
                        return result
            if of is not None and (deaths := self._deaths_of[of.sample.id]) >= GUILTY:
                raise SampleError(
                    f"sample {of.sample.id} (image {of.sample.image.path}) was under way at {deaths} deaths of "
                    f"{self._care.role} workers"
                )

    async def of_each(self, workers: Mapping[int, W], work: Callable[[W], Coroutine[Any, Any, T]]) -> dict[int, T]:
        """index -> result, without the workers that died meanwhile, or have died since `workers` were here."""

        async def survive(index: int, worker: W) -> list[T]:
            life = self._lives[index]
            if life.worker is not worker:
                return []
            try:
                return [await life.run(work)]
            except ProcessDiedError as err:
                self._lose(index, life, err)
                return []

        results = await all_or_first_error([survive(index, worker) for index, worker in workers.items()])
        return {index: result[0] for index, result in zip(workers, results, strict=True) if result}

    async def some_worker(self) -> None:
        """Wait until a worker is here. Place and start have time limits, hence so has this while starts are allowed."""
        while not self._balance.here and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        self.raise_error()

    def raise_error(self) -> None:
        """What ended the crew, if anything did."""
        if self._error is not None:
            raise self._error

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the workers' own processes, each within limit_s; what went wrong is returned, as the end goes on."""
        tasks = [*self._entries, *(life.watch for life in self._lives if life.watch is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stay in self._stays.values():
            stay.close()
        return await errors_of([worker.close(limit_s=limit_s) for worker in self.here.values()])

    def _lose(self, index: int, life: _Life[W], death: ProcessDiedError, *, of: Prompt | None = None) -> None:
        """Start the worker again, unless its death has been told of before. Raises it where it is not to be. `of`: what
        the call that found out was about."""
        self.raise_error()
        if life.death is not None:
            return
        prompts = life.end(death) + ([] if of is None else [of])
        life.unwatch()
        self._balance.leave(index)
        self._stays.pop(index).close()
        guilty = 0
        for sample in set() if isinstance(death, NodeLeftError) else {prompt.sample.id for prompt in prompts}:
            self._deaths_of[sample] += 1
            guilty += self._deaths_of[sample] == GUILTY
        self._restarts_left += GUILTY * guilty
        fault = self._note(life.worker, death, requeued=tuple(sorted(prompt.group_id for prompt in prompts)))
        self._spend_restart(death)
        self._lives[index] = _Life(life.worker.again())
        self._enter(index, fault=fault)

    def _note(self, worker: W, death: ProcessDiedError, *, requeued: tuple[int, ...] = ()) -> Fault:
        now, role = self._trace.clock(), self._care.role
        self._died[worker.name] += 1
        kind, cause = kind_of(death), first_line(death)
        ids: dict[str, IdValue] = {"worker": worker.name, "role": role, "kind": kind, "requeued": len(requeued)}
        self._trace.add(Span("fault", now, now, ids))
        return Fault(now, role=role, worker=worker.name, kind=kind, cause=cause, requeued=requeued)

    def _spend_restart(self, death: ProcessDiedError) -> None:
        if isinstance(death, NodeLeftError):
            log.warning("%s\nIts place is asked for again; that is no restart", death)
            return
        setting, allowed = self._care.setting, self._care.restarts
        if not self._restarts_left:
            names = ", ".join(f"{name} {count}" for name, count in sorted(self._died.items()))
            self._error = restarts_spent(death, setting=setting, allowed=allowed, deaths=names)
            self._changed.set()
            raise self._error
        self._restarts_left -= 1
        log.warning("%s\nIt is started again; %d more restarts are allowed (%s)", death, self._restarts_left, setting)

    def _enter(self, index: int, *, fault: Fault | None) -> None:
        name = self._lives[index].worker.name
        task = asyncio.create_task(self._start(index, fault=fault), name=f"start of {name}")
        self._entries.add(task)
        task.add_done_callback(self._note_entry)

    async def _start(self, index: int, *, fault: Fault | None) -> None:
        """Until the worker is here, which may take several lives. `fault`: the death before."""

        async def join(worker: W) -> None:
            async with self._admit(worker):
                if life.death is not None:  # found in this very moment: nobody would find it again
                    raise life.death
                self._balance.join(index)
                self._note_stay(index)

        while True:
            life = self._lives[index]
            worker = life.worker
            try:
                await self._place(worker)
                await self._may_start.wait()
                doing = "start" if fault is None else "restart"
                with self._trace.span(doing, worker=worker.name, role=self._care.role):
                    await worker.start()
                    self._watch(index)
                    await life.run(join)
                break
            except ProcessDiedError as death:
                life.unwatch()
                if fault is not None:
                    self._care.tell(fault)
                fault = self._note(worker, death)
                self._spend_restart(death)
                self._lives[index] = _Life(worker.again())
        if fault is not None:
            self._care.tell(replace(fault, recover_s=self._trace.clock() - fault.time))

    async def _place(self, worker: W) -> None:
        """Raises WorkerDiedError where too few workers are here to go on without this one."""
        waiting = asyncio.ensure_future(worker.placed())
        limit_s = None if math.isinf(self._care.place_s) else self._care.place_s
        try:
            while not (await asyncio.wait({waiting}, timeout=limit_s))[0]:
                if len(self._balance.here) < self._care.at_least:
                    raise WorkerDiedError(
                        f"{worker.name} has found no place in the cluster for {limit_s:g} s (ray.start_timeout_s), and "
                        f"{len(self._balance.here)} of at least {self._care.at_least} workers are here"
                    )
            waiting.result()
        finally:
            waiting.cancel()

    def _note_stay(self, index: int) -> None:
        stay = self._stays[index] = ExitStack()
        stay.enter_context(self._trace.span("here", worker=self._lives[index].worker.name, role=self._care.role))

    def _watch(self, index: int) -> None:
        if math.isinf(self._care.hang_s):
            return
        life = self._lives[index]

        async def find_death() -> None:
            try:
                await watch(life.worker.pulse, name=life.worker.name, hang_s=self._care.hang_s)
            except ProcessDiedError as death:
                if index in self._balance.here:
                    self._lose(index, life, death)
                else:  # on its way to the others: `_start` starts it again
                    life.end(death)

        life.watch = asyncio.create_task(find_death(), name=f"watch of {life.worker.name}")
        life.watch.add_done_callback(self._note_error)

    def _note_entry(self, task: asyncio.Task[None]) -> None:
        self._entries.discard(task)
        self._note_error(task)
        self._changed.set()

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self._changed.set()
