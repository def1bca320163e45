"""The slot buffer between admission and training: how old a trained group can be is decided here, by admission alone.

In: an endless stream of jobs (write and score one group). Out: scored groups in admission order, or with a window in
the order in which they are done, as far as the bound on their age allows (lookahead.py). Pure asyncio.

    jobs -> [wait for a free slot] -> job runs -> queue, oldest first -> take -> trained, new version live -> release
                     ^_____________________________ slot freed ___________________________________________|

A job holds its slot from admission until its group is either found untrainable (freed at once) or trained *and* the
version that came out of it is live in every engine (freed by `release`).

Proof that lag <= ceil(r). Let P = groups a step and K = capacity <= (1 + ceil(r)) P. `ceil((1 + r) P)` is such a K,
because (1 + ceil(r)) P is a whole number >= (1 + r) P.
1. Let a job be admitted while step s is under way, that is after the slots of step s - 1 were released. Every engine
   then holds version s, so the job's group is written by version s or a newer one, whatever the delay until it starts
   and whichever engine writes it.
2. At that moment at most K - 1 other slots are held: by the groups already taken for step s, and by jobs still queued,
   all of which are ahead of the new one. Finished but untrainable groups may lie between them; they hold no slot and
   are not trained.
3. `take` gives groups in admission order and each step trains the next P trainable ones. So at most K - 1 trained
   groups, those of step s included, precede the new one: it is trained in step t <= s + floor((K - 1) / P).
4. K - 1 < (1 + ceil(r)) P, so t - s <= ceil(r). The lag of a group is t minus the version that wrote it: <= t - s. QED
A group that is dropped gives its slot to a job that starts under the current version, which only makes it newer; so
does a job that is started again because its engine died. A capacity that shrinks keeps K an upper bound. With r = 0,
K = P and every lag is 0.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fundus_ray.errors import FundusRayError, WorkerDiedError
from fundus_ray.obs.trace import Trace
from fundus_ray.rollout.lookahead import Lookahead
from fundus_ray.types import ScoredGroup


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one slot. `name` is what an error calls it, e.g. "group 17"."""

    name: str
    run: Callable[[], Coroutine[Any, Any, ScoredGroup]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A group in the queue."""

    task: asyncio.Task[ScoredGroup]
    last_step: int  # the step in which it must be trained at the latest


class SlotBuffer:
    """At most `capacity` groups between admission and a live new version. For one consumer, inside one event loop."""

    def __init__(self, capacity: int, *, stall_s: float, trace: Trace, lookahead: Lookahead) -> None:
        """stall_s: longest wait [s] for one group. Waits for a slot become spans "wait_slot"."""
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        self._capacity = capacity
        self._stall_s = stall_s
        self._trace = trace
        self._slots = asyncio.Semaphore(capacity)
        self._lookahead = lookahead
        self._queue: deque[_Place] = deque()
        self._feeder: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._closed = False

    def start(self, jobs: Iterator[Job]) -> None:
        """Admit jobs from now on, each as soon as a slot is free. `jobs` is advanced only then, and must not end."""
        assert self._feeder is None, "start is called once"
        self._feeder = asyncio.create_task(self._feed(jobs), name="admission of prompts")
        self._feeder.add_done_callback(self._note_error)

    async def take(self) -> ScoredGroup:
        """The oldest group, once it is scored, or a younger one that may pass it. The slot of a trainable one stays
        held until `release`.

        A crash in any job, or in `jobs` itself, is raised here at once, however far back in the queue it is.
        Raises WorkerDiedError, naming what it waited for, where nothing came for stall_s in which no engine was being
        started again (span "restart").
        """
        while not await self._wait_until_settled():
            now = self._trace.clock()
            if not any(s.name == "restart" for s in self._trace.window(start_s=now - self._stall_s, end_s=now)):
                awaited = self._queue[0].task.get_name() if self._queue else "a prompt to be admitted"
                raise WorkerDiedError(
                    f"nothing arrived for {self._stall_s:g} s (loop.stall_s) while waiting for {awaited}; "
                    f"{self.unfinished} of {len(self._queue)} groups in the buffer are unfinished"
                )
        if self._error is not None:
            raise self._error
        index = self._first_ready()
        assert index is not None
        place = self._queue[index]
        del self._queue[index]
        group = place.task.result()
        if group.trainable:
            self._lookahead.take(place.last_step)
        return group

    def give_up(self, count: int) -> None:
        """So many trainable groups of this step cannot be trained on after all: their slots are free at once."""
        self._lookahead.give_up(count)
        for _ in range(count):
            self._slots.release()

    def release(self, count: int, *, capacity: int | None = None) -> None:
        """Free the slots of a step's `count` trained groups. Call only once the version made of them is live.

        A smaller `capacity` from now on keeps back as many slots; it must not shrink by more than `count`.
        """
        capacity = self._capacity if capacity is None else capacity
        kept = self._capacity - capacity
        if not 0 <= kept <= count:
            raise ValueError(f"capacity may shrink from {self._capacity} by 0 to {count}, not to {capacity}")
        self._capacity = capacity
        self._lookahead.end_step()
        for _ in range(count - kept):
            self._slots.release()

    async def _wait_until_settled(self) -> bool:
        """Whether there is something to answer with, after at most stall_s."""
        try:
            async with asyncio.timeout(self._stall_s):
                while not self._settled:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return self._settled  # then it was this process that stood still
        return True

    @property
    def unfinished(self) -> int:
        """Groups that are being written or scored."""
        return sum(not place.task.done() for place in self._queue)

    @property
    def _settled(self) -> bool:
        """Whether `take` has something to answer with."""
        return self._error is not None or self._first_ready() is not None

    async def close(self) -> None:
        """Cancel what is under way and wait until it has ended. Raises WorkerDiedError where it does not in stall_s."""
        tasks: list[asyncio.Task[Any]] = [p.task for p in self._queue] + ([self._feeder] if self._feeder else [])
        self._queue.clear()
        self._closed = True
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        done, pending = await asyncio.wait(tasks, timeout=self._stall_s)
        for task in done:
            if not task.cancelled():
                task.exception()  # marks it as seen: asyncio would print it later, and `take` has raised the first one
        if pending:
            names = ", ".join(sorted(task.get_name() for task in pending))
            raise WorkerDiedError(f"did not stop within {self._stall_s:g} s of being cancelled: {names}")

    async def _feed(self, jobs: Iterator[Job]) -> None:
        """The wait for a slot has no limit of its own: the loop frees slots, and every wait of the loop has one."""
        while True:
            with self._trace.span("wait_slot"):
                await self._slots.acquire()
            job = next(jobs, None)
            if job is None:
                raise FundusRayError("the prompts ran out before the last step; they must be endless")
            task = asyncio.create_task(job.run(), name=job.name)
            place = _Place(task, last_step=self._lookahead.admit())
            self._queue.append(place)
            task.add_done_callback(lambda _, place=place: self._settle(place))  # type: ignore[misc]

    def _first_ready(self) -> int | None:
        """Where in the queue the group stands that is to be handed out now."""
        if not self._queue:
            return None
        if self._queue[0].task.done():
            return 0
        for index, place in enumerate(islice(self._queue, 1, 1 + self._lookahead.window), start=1):
            # One that was dropped is handed out in its turn: nobody waits for it.
            if place.task.done() and place.task.result().trainable and self._lookahead.may_pass(place.last_step):
                return index
        return None

    def _settle(self, place: _Place) -> None:
        task = place.task
        self._note_error(task)
        if not self._closed and not task.cancelled() and task.exception() is None and not task.result().trainable:
            self._lookahead.drop(place.last_step)
            self._slots.release()

    def _note_error(self, task: asyncio.Task[Any]) -> None:
        if self._closed:
            return
        if self._error is None:
            if task.cancelled():
                self._error = WorkerDiedError(f"{task.get_name()} was cancelled from outside")
            else:
                self._error = task.exception()
        self._changed.set()
