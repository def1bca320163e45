"""A learner that dies in the middle of training, and a run that goes on from its last checkpoint.

In: the training as a function of the position that it starts from. Out: its end; or, after more deaths than are
allowed, the last one's error. Pure asyncio: no Ray, no torch.

A ProcessDiedError of the training is the learner's: deaths of engines and reward workers are mended where they happen,
and one more than allowed is a plain WorkerDiedError (crew.py).

A learner that hangs is found by its time limit alone, loop.stall_s for each call, and that ends the run: an update
gives no sign of life, so one that takes too long for the limit looks the same, and would take as long after a restart.

What the learner knew since its last checkpoint is lost, so all that followed from it is taken back: the loop ends with
every group that is under way or scored, whatever version wrote it, and starts anew at the checkpoint's position. No
group of a version that was taken back can reach an update: the new loop admits none before every engine has proven that
it holds the restored version, and serves it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from fundus_ray.errors import ProcessDiedError
from fundus_ray.loop import Position, Totals
from fundus_ray.obs.faults import restarts_spent

log = logging.getLogger(__name__)


async def train_through_deaths(
    train: Callable[[Position], Awaitable[Totals]],
    *,
    start: Position,
    restarts: int,
    restore: Callable[[ProcessDiedError], Awaitable[Position]],
) -> Totals:
    """`train` from `start`; where the learner dies, from where `restore` says that it stands again. Totals of the last
    call.

    `restore` is told of the death; it brings the learner and all engines back to a checkpoint, and the run folder too.
    Raises WorkerDiedError, with the cause on its last line, at one death more than `restarts`, in it or in `train`; any
    other error of either as it is.
    """
    left, death = restarts, None
    while True:
        try:
            if death is not None:
                start = await restore(death)
            return await train(start)
        except ProcessDiedError as err:
            if not left:
                raise restarts_spent(
                    err, setting="learner.restarts", allowed=restarts, deaths=str(restarts + 1)
                ) from err
            left, death = left - 1, err
            log.warning(
                "%s\nThe learner is started again from the last checkpoint; %d more restarts are allowed "
                "(learner.restarts)",
                err,
                left,
            )
