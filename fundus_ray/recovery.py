"""A learner that dies in the middle of training, and a run that goes on from its last checkpoint.

In: the learner, and the training as a function of the position that it starts from. Out: the training's end; or, after
more deaths than are allowed, the last one's error. Pure asyncio: no Ray, no torch.

What the learner knew since its last checkpoint is lost, so all that followed from it is taken back: the loop ends with
every group that is under way or scored, whatever version wrote it, and starts anew at the checkpoint's position. No
group of a version that was taken back can reach an update: the new loop admits none before every engine has proven that
it holds the restored version, and serves it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from fundus_ray.errors import ProcessDiedError
from fundus_ray.loop import Position, Published, Totals
from fundus_ray.types import StepResult, TrainBatch

log = logging.getLogger(__name__)


class RestartableLearner(Protocol):
    """All ranks of it as one. Every call raises ProcessDiedError where a process of it is gone."""

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch."""

    async def publish(self) -> Published:
        """The version as it is now."""

    async def save(self, folder: str) -> None:
        """Its state into the folder."""

    async def load(self, folder: str) -> None:
        """What `save` wrote."""

    async def restart(self, *, limit_s: float) -> None:
        """New processes in the place of what is left of the old ones, with the policy as before any update."""


class WatchedLearner:
    """The learner, and which error told of its death: an engine's is an error of the same class."""

    def __init__(self, learner: RestartableLearner) -> None:
        self._learner = learner
        self.death: ProcessDiedError | None = None

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch."""
        with self._watched():
            return await self._learner.update(batch)

    async def publish(self) -> Published:
        """The version as it is now."""
        with self._watched():
            return await self._learner.publish()

    async def save(self, folder: str) -> None:
        """Its state into the folder."""
        with self._watched():
            await self._learner.save(folder)

    async def load(self, folder: str) -> None:
        """What `save` wrote."""
        with self._watched():
            await self._learner.load(folder)

    async def restart(self, *, limit_s: float) -> None:
        """New processes in the place of what is left of the old ones."""
        with self._watched():
            await self._learner.restart(limit_s=limit_s)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except ProcessDiedError as err:
            self.death = err
            raise


async def train_through_deaths(
    train: Callable[[Position], Awaitable[Totals]],
    *,
    start: Position,
    learner: WatchedLearner,
    restarts: int,
    restore: Callable[[ProcessDiedError], Awaitable[Position]],
) -> Totals:
    """`train` from `start`; where the learner dies, from where `restore` says that it stands again. Totals of the last
    call.

    `restore` is told of the death; it brings the learner and all engines back to a checkpoint, and the run folder too.
    One more death than `restarts`, in it or in `train`, is raised; so is any other error of either.
    """
    left, death = restarts, None
    while True:
        try:
            if death is not None:
                start = await restore(death)
            return await train(start)
        except ProcessDiedError as err:
            if err is not learner.death or not left:
                raise
            left, death = left - 1, err
            log.warning(
                "%s\nThe learner is started again from the last checkpoint; %d more restarts are allowed "
                "(learner.restarts)",
                err,
                left,
            )
