"""All engines of a served model as one. A request goes to the engine with the fewest under way, and to another one
where it dies; that one is started again (crew.py).

In: engines, each an actor with time limits of its own (actors.py). Out: `ModelPool`. Pure asyncio, no Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

from fundus_ray.crew import Care, Crew, Worker
from fundus_ray.obs.trace import Trace
from fundus_ray.types import ModelReply, ModelRequest


class Picture(Protocol):
    """What a worker reads pixels from: ImageRef, or evaluate/benchmarks/pictures.py's AskedImage."""

    @property
    def path(self) -> str:
        """As in errors."""


class ModelEngine(Worker, Protocol):
    """One engine. Every call has a time limit and raises ProcessDiedError where the engine's process is gone."""

    async def ask(self, image: Picture | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one."""


class ModelPool:
    """Any number of requests may be under way."""

    def __init__(self, engines: Sequence[ModelEngine], *, care: Care) -> None:
        """A death after the last restart is raised."""
        self._crew: Crew[ModelEngine] = Crew(engines, care=care, admit=lambda _: nullcontext(), trace=Trace())

    async def ask(self, image: Picture | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one."""
        return await self._crew.call(lambda engine: engine.ask(image, request))

    async def close(self, *, limit_s: float) -> list[BaseException]:
        """Stop the engines, each within limit_s; what went wrong is returned, as the end goes on."""
        return await self._crew.close(limit_s=limit_s)
