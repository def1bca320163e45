"""Ray actors behind the loop's protocols: one call each, with a time limit, and errors that a user can act on.

In: actor handles made by runtime.py. Out: `RolloutPool`, `RewardPool` and `LearnerActor`, which loop.py takes as parts.
Policies go from the learner to the engines through Ray's object store; this process holds only the reference.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# Ray reads this once, when it is imported: a worker's death must reach the user as our error, not as raylet's page of
# advice in the middle of a progress bar.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError

from fundus_ray.errors import FundusRayError, WorkerDiedError
from fundus_ray.loop import Published
from fundus_ray.obs.log_file import last_lines
from fundus_ray.obs.trace import Trace
from fundus_ray.rollout.balance import Balance
from fundus_ray.rollout.delivery import check_proofs
from fundus_ray.types import (
    DeliveryProof,
    ImageRef,
    ModelReply,
    ModelRequest,
    PolicyVersion,
    Prompt,
    RolloutGroup,
    Sampling,
    ScoredGroup,
    StepResult,
    TrainBatch,
)

T = TypeVar("T")
LOG_LINES, LOG_LINE_CHARS = 3, 200  # of a worker's log, quoted in an error


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor with what an error message needs. `log_path` None: its output is in Ray's session folder."""

    name: str
    handle: Any
    log_path: Path | None

    async def call(self, method: str, *args: Any, doing: str, limit_s: float, returns: int = 1) -> Any:
        """Call the method and wait. With `returns` > 1: the first value, then references to the others, unfetched.

        Raises a FundusRayError that the method itself raised as it is; WorkerDiedError, naming actor, `doing` and the
        log's last lines, where the actor died, failed otherwise, or did not answer within `limit_s` seconds. A caller
        that is cancelled cancels the call.
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
            if isinstance(err.cause, FundusRayError):
                raise err.cause from None
            raise self._error(f"failed while {doing}: {type(err.cause).__name__}: {_one_line(err.cause)}") from err
        except TimeoutError:
            ray.cancel(first)
            raise self._error(f"did not answer within {limit_s:g} s while {doing}") from None
        except TaskCancelledError as err:
            raise self._error(f"was cancelled while {doing}") from err
        except RayError as err:
            raise self._error(f"died while {doing}: {_cause_of_death(err)}") from err
        return value if returns == 1 else (value, *submitted[1:])

    def _error(self, what: str) -> WorkerDiedError:
        if self.log_path is None:
            return WorkerDiedError(f"{self.name} {what}")
        lines = last_lines(self.log_path, count=LOG_LINES)
        tail = " | ".join(line[:LOG_LINE_CHARS] for line in lines) if lines else "(nothing on this machine)"
        return WorkerDiedError(f"{self.name} {what}\n{self.log_path} ends: {tail}")


class RolloutPool:
    """All engines. A prompt goes to the engine with the fewest under way."""

    def __init__(
        self, actors: Sequence[Actor], *, sampling: Sampling, probe_tolerance: float, limit_s: float, trace: Trace
    ) -> None:
        """limit_s: longest generation of one group and longest delivery [s]; `sampling` is that of training."""
        self._actors = tuple(actors)
        self._balance = Balance(len(actors))
        self._sampling = sampling
        self._probe_tolerance = probe_tolerance
        self._limit_s = limit_s
        self._trace = trace

    async def generate(self, prompt: Prompt, sampling: Sampling | None = None) -> RolloutGroup:
        """All rollouts of the prompt from one engine, under the newest version that it holds."""
        with self._balance.lease() as index:
            actor = self._actors[index]
            with self._trace.span("generate", worker=actor.name, group=prompt.group_id):
                group: RolloutGroup = await actor.call(
                    "generate",
                    prompt,
                    sampling or self._sampling,
                    doing=f"writing group {prompt.group_id}",
                    limit_s=self._limit_s,
                )
        return group

    async def set_policy(self, published: Published) -> list[DeliveryProof]:
        """Send the version to every engine at once and check each answer. Raises DeliveryError, WorkerDiedError."""
        doing = f"taking policy version {published.version.step}"
        proofs: list[DeliveryProof] = await all_or_first_error(
            [actor.call("take", published.payload, doing=doing, limit_s=self._limit_s) for actor in self._actors]
        )
        names = [actor.name for actor in self._actors]
        check_proofs(published.version, proofs, engines=names, tolerance=self._probe_tolerance)
        return proofs

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines' own processes, each within limit_s; what went wrong is returned, as the end goes on."""
        return await _close_all(self._actors, limit_s=limit_s)


class ReaderPool:
    """All engines of a generic model. A request goes to the engine with the fewest under way."""

    def __init__(self, actors: Sequence[Actor], *, limit_s: float) -> None:
        """limit_s: longest reply [s]."""
        self._actors = tuple(actors)
        self._balance = Balance(len(actors))
        self._limit_s = limit_s

    async def ask(self, image: ImageRef | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one."""
        doing = "answering" if image is None else f"reading {image.path}"
        with self._balance.lease() as index:
            reply: ModelReply = await self._actors[index].call(
                "ask", image, request, doing=doing, limit_s=self._limit_s
            )
        return reply

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines, each within limit_s; what went wrong is returned, as the end goes on."""
        return await _close_all(self._actors, limit_s=limit_s)


class RewardPool:
    """All reward workers. A group goes to the worker with the fewest under way."""

    def __init__(self, actors: Sequence[Actor], *, limit_s: float, trace: Trace) -> None:
        """limit_s: longest scoring of one group [s], the worker's own limit included."""
        self._actors = tuple(actors)
        self._balance = Balance(len(actors))
        self._limit_s = limit_s
        self._trace = trace

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores."""
        group_id = group.prompt.group_id
        with self._balance.lease() as index:
            actor = self._actors[index]
            with self._trace.span("score", worker=actor.name, group=group_id):
                scored: ScoredGroup = await actor.call(
                    "score", group, doing=f"scoring group {group_id}", limit_s=self._limit_s
                )
        return scored


class LearnerActor:
    """The policy's owner."""

    def __init__(self, actor: Actor, *, limit_s: float) -> None:
        """limit_s: longest update, publication, save or load [s]."""
        self._actor = actor
        self._limit_s = limit_s

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch."""
        doing = f"updating policy version {batch.policy_step}"
        result: StepResult = await self._actor.call("update", batch, doing=doing, limit_s=self._limit_s)
        return result

    async def publish(self) -> Published:
        """The version as it is now; its bytes stay in the object store."""
        version: PolicyVersion
        version, payload = await self._actor.call("publish", doing="publishing", limit_s=self._limit_s, returns=2)
        return Published(version=version, payload=payload)

    async def save(self, folder: str) -> None:
        """Adapter, optimizer and step into the folder, on the learner's machine."""
        await self._actor.call("save", folder, doing=f"saving to {folder}", limit_s=self._limit_s)

    async def load(self, folder: str) -> None:
        """What `save` wrote."""
        await self._actor.call("load", folder, doing=f"loading {folder}", limit_s=self._limit_s)


async def all_or_first_error(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order. On the first error cancel the rest, wait for them to end, and raise it."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION) if tasks else (set(), set())
        failed = next((task for task in tasks if task in done and task.exception() is not None), None)
        return [task.result() for task in ([failed] if failed else tasks)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close_all(actors: Sequence[Actor], *, limit_s: float) -> list[BaseException]:
    calls = [actor.call("close", doing="closing", limit_s=limit_s) for actor in actors]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [err for err in ended if isinstance(err, BaseException)]


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:400]


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
