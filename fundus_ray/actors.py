"""Ray actors behind the loop's protocols: one call each, with a time limit, and errors that a user can act on.

In: actor handles made by runtime.py. Out: `RolloutActor`, `ModelActor` and `RewardActor` for the pools (engine_pool.py,
model_pool.py, reward_pool.py); learner_ranks.py calls its actors itself.
Policies go from the learner to the engines through Ray's object store; this process holds only the reference.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Ray reads this once, when it is imported: a worker's death must reach the user as our error, not as raylet's page of
# advice in the middle of a progress bar.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)

from fundus_ray.errors import FundusRayError, HungError, NodeLeftError, ProcessDiedError, WorkerDiedError
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.loop import Published
from fundus_ray.model_pool import Picture
from fundus_ray.obs.log_file import last_lines
from fundus_ray.types import (
    DeliveryProof,
    ModelReply,
    ModelRequest,
    PolicyVersion,
    Prompt,
    Pulse,
    RolloutGroup,
    Sampling,
    ScoredGroup,
)

LOG_LINES, LOG_LINE_CHARS = 3, 200  # of a worker's log, quoted in an error
SEARCH_PAUSE_S = 2.0  # between two starts of a reward worker while the search is down
# What Ray says where an actor, or what it answered, is gone with its process or machine.
GONE = (OutOfMemoryError, ObjectLostError)
NODE_GONE = "its node has died"  # in Ray's words on an actor's death


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor with what an error message needs. `log_path` None: its output is in Ray's session folder."""

    name: str
    handle: Any
    log_path: Path | None

    async def placed(self) -> None:
        """Wait until its constructor has ended, which needs a place in the cluster; the caller's limit counts."""
        await self.call("__ray_ready__", doing="waiting for its place in the cluster", limit_s=None)

    async def call(
        self,
        method: str,
        *args: Any,
        doing: str,
        limit_s: float | None,
        late: type[WorkerDiedError] = WorkerDiedError,
        returns: int = 1,
    ) -> Any:
        """Call the method and wait. With `returns` > 1: the first value, then references to the others, unfetched.

        Raises a FundusRayError that the method itself raised as it is; WorkerDiedError, naming actor, `doing` and the
        log's last lines, where the actor failed otherwise; `late` in the same words where it did not answer within
        `limit_s` seconds, and ProcessDiedError where its process is gone. A caller that is cancelled cancels the call.
        """
        submitted = getattr(self.handle, method).options(num_returns=returns).remote(*args)
        first = submitted if returns == 1 else submitted[0]
        try:
            async with asyncio.timeout(limit_s):
                value = await first
        except asyncio.CancelledError:
            ray.cancel(first)
            raise
        except RayTaskError as err:
            # Before TimeoutError: Ray gives the error the class of its cause as well.
            if isinstance(err.cause, ProcessDiedError):  # vLLM's process, of which only the actor knows
                raise self._error(f"died while {doing}: {_one_line(err.cause)}", kind=ProcessDiedError) from None
            if isinstance(err.cause, FundusRayError):
                raise err.cause from None
            raise self._error(f"failed while {doing}: {type(err.cause).__name__}: {_one_line(err.cause)}") from err
        except TimeoutError:
            ray.cancel(first)
            raise self._error(f"did not answer within {limit_s:g} s while {doing}", kind=late) from None
        except TaskCancelledError as err:
            raise self._error(f"was cancelled while {doing}") from err
        except RayError as err:
            raise self._error(f"died while {doing}: {_cause_of_death(err)}", kind=_kind_of_death(err)) from err
        return value if returns == 1 else (value, *submitted[1:])

    def _error(self, what: str, *, kind: type[WorkerDiedError] = WorkerDiedError) -> WorkerDiedError:
        if self.log_path is None:
            return kind(f"{self.name} {what}")
        lines = last_lines(self.log_path, count=LOG_LINES)
        tail = " | ".join(line[:LOG_LINE_CHARS] for line in lines) if lines else "(nothing on this machine)"
        return kind(f"{self.name} {what}\n{self.log_path} ends: {tail}")


class RestartableActor:
    """What the workers of all pools share, as crew.py takes it: an actor in whose place a new one can be put."""

    def __init__(self, spawn: Callable[[], Actor], *, start_limit_s: float, limit_s: float) -> None:
        """`spawn` makes the actor, and a new one in its place; start_limit_s: longest start [s]; limit_s: longest of
        any other call [s]."""
        self._spawn = spawn
        self._start_limit_s = start_limit_s
        self._limit_s = limit_s
        self._actor = spawn()

    @property
    def name(self) -> str:
        """As in errors, spans and proofs."""
        return self._actor.name

    async def placed(self) -> None:
        """Wait for a place in the cluster."""
        await self._actor.placed()

    async def pulse(self) -> Pulse:
        """A sign of life."""
        pulse: Pulse = await self._actor.call("pulse", doing="giving a sign of life", limit_s=self._limit_s)
        return pulse

    async def close(self, *, limit_s: float) -> None:
        """Stop the worker's own processes, and free its connections."""
        await self._actor.call("close", doing="closing", limit_s=limit_s)

    def again(self) -> Self:
        """A new worker of the same kind, not yet started, in the place of this one, whose remains are ended."""
        ray.kill(self._actor.handle)  # where vLLM's process alone is gone, the actor still holds its CPUs and GPUs
        new = copy.copy(self)
        new._actor = self._spawn()
        return new


class RolloutActor(RestartableActor):
    """One engine, as engine_pool.py takes it."""

    def __init__(
        self, spawn: Callable[[], Actor], *, start_limit_s: float, limit_s: float, group_limit_s: float
    ) -> None:
        """limit_s: longest delivery [s]; group_limit_s: longest writing of one group [s], its wait in the engine
        included."""
        super().__init__(spawn, start_limit_s=start_limit_s, limit_s=limit_s)
        self._group_limit_s = group_limit_s

    async def start(self) -> None:
        """Load the model."""
        await self._actor.call("start", doing="starting its engine", limit_s=self._start_limit_s, late=HungError)

    async def take(self, published: Published) -> DeliveryProof:
        """Hold the version beside those that are in use, and prove it."""
        doing = f"taking policy version {published.version.step}"
        proof: DeliveryProof = await self._actor.call("take", published.payload, doing=doing, limit_s=self._limit_s)
        return proof

    async def serve(self, version: PolicyVersion) -> None:
        """From now on write under this version, which it holds."""
        doing = f"turning to policy version {version.step}"
        await self._actor.call("serve", version, doing=doing, limit_s=self._limit_s)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """All rollouts of the prompt."""
        doing = f"writing group {prompt.group_id}"
        limit_s = self._group_limit_s
        group: RolloutGroup = await self._actor.call("generate", prompt, sampling, doing=doing, limit_s=limit_s)
        return group

    async def sleep(self) -> None:
        """Give the GPU up until `wake`."""
        await self._actor.call("sleep", doing="going to sleep", limit_s=self._limit_s)

    async def wake(self) -> None:
        """Take the GPU again."""
        await self._actor.call("wake", doing="waking up", limit_s=self._limit_s)


class ModelActor(RestartableActor):
    """One engine of a served model, as model_pool.py takes it."""

    def __init__(self, spawn: Callable[[], Actor], *, loading: str, start_limit_s: float, limit_s: float) -> None:
        """loading: the model, as in errors; limit_s: longest reply [s]."""
        super().__init__(spawn, start_limit_s=start_limit_s, limit_s=limit_s)
        self._loading = loading

    async def start(self) -> None:
        """Load the model."""
        doing = f"loading {self._loading} (limit: ray.start_timeout_s)"
        await self._actor.call("start", doing=doing, limit_s=self._start_limit_s, late=HungError)

    async def ask(self, image: Picture | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one."""
        doing = "answering" if image is None else f"reading {image.path}"
        reply: ModelReply = await self._actor.call("ask", image, request, doing=doing, limit_s=self._limit_s)
        return reply


class RewardActor(RestartableActor):
    """One reward worker, as reward_pool.py takes it."""

    def __init__(
        self, spawn: Callable[[], Actor], *, start_limit_s: float, limit_s: float, waits_for_search: bool = False
    ) -> None:
        """limit_s: longest scoring of one group [s], the worker's own limit included. waits_for_search: as of a worker
        that is started while the run goes on; a search that is down, which the run may outlive, then ends the start
        only where it is down for start_limit_s."""
        super().__init__(spawn, start_limit_s=start_limit_s, limit_s=limit_s)
        self._waits_for_search = waits_for_search

    async def start(self) -> None:
        """Open the knowledge store. Raises SearchError where the search is down."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._start_limit_s
        while True:
            left_s = max(1.0, until - loop.time())
            try:
                await self._actor.call("start", doing="opening the knowledge store", limit_s=left_s, late=HungError)
            except SearchError:
                if not self._waits_for_search or loop.time() + SEARCH_PAUSE_S > until:
                    raise
                await asyncio.sleep(SEARCH_PAUSE_S)
            else:
                return

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores."""
        doing = f"scoring group {group.prompt.group_id}"
        scored: ScoredGroup = await self._actor.call("score", group, doing=doing, limit_s=self._limit_s)
        return scored

    def again(self) -> Self:
        """Likewise; the new one waits for the search."""
        new = super().again()
        new._waits_for_search = True
        return new


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:400]


def _kind_of_death(err: RayError) -> type[WorkerDiedError]:
    if isinstance(err, NodeDiedError) or (isinstance(err, RayActorError) and NODE_GONE in str(err)):
        return NodeLeftError
    # One that could not start would not start the next time either; Ray's memory monitor does kill.
    gone = isinstance(err, GONE) or (isinstance(err, RayActorError) and not err.actor_init_failed)
    return ProcessDiedError if gone else WorkerDiedError


def _cause_of_death(err: RayError) -> str:
    """Ray's many lines in one: the worker's own error where its constructor failed, else how its process ended."""
    lines = str(err).splitlines()
    if isinstance(err, RayActorError) and err.actor_init_failed:
        # A traceback: what follows its last indented line is the exception.
        indented = [i for i, line in enumerate(lines) if line.startswith(" ")]
        return f"it could not start: {' '.join(lines[indented[-1] + 1 if indented else 0 :])}"[:400]
    text = " ".join(" ".join(lines).split())
    _, found, detail = text.partition("The actor is dead because ")
    return (detail if found else text).partition(" Some common causes")[0][:300]
