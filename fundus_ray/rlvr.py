"""The stage of updates: the loop, its checkpoints, and how it goes on after the learner's death.

In: the job and its actors. Out: the loop's totals; checkpoints in the run folder.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fundus_ray import loop
from fundus_ray.checkpoints import latest_checkpoint, prune, write_checkpoint
from fundus_ray.errors import DataError, FundusRayError, ProcessDiedError
from fundus_ray.mirror import Mirror, run_place
from fundus_ray.obs.faults import Fault, first_line, kind_of
from fundus_ray.progress import Progress, say
from fundus_ray.quarantine import Quarantine
from fundus_ray.recovery import train_through_deaths
from fundus_ray.run_job import Job
from fundus_ray.runtime import Actors


async def train_policy(job: Job, actors: Actors, *, stop: asyncio.Event) -> loop.Totals:
    """All updates, from where the job starts, under the version that every engine holds. Raises what the loop does."""
    async with mirrored(job) as mirror:
        return await _Updates(job, actors, stop, mirror).run()


@asynccontextmanager
async def mirrored(job: Job) -> AsyncIterator[Mirror | None]:
    """Where checkpoints are copied to, if run.checkpoints says so; at the end of the body, also where it failed, those
    that are under way are waited for: the last one of a run that stalled may be all that is left of its machine."""
    run = job.config.run
    if not run.checkpoints:
        yield None
        return
    there = run_place(run.checkpoints, job.folder.path)
    mirror = Mirror(there, keep=run.keep_checkpoints, limit_s=job.config.loop.stall_s)
    try:
        yield mirror
    except FundusRayError:
        await mirror.close()
        raise
    await mirror.close()
    job.folder.write_facts("mirror", {"address": run.checkpoints, **mirror.metrics})


async def save_checkpoint(
    job: Job, at: loop.Position, *, save: Callable[[str], Awaitable[None]], mirror: Mirror | None = None
) -> None:
    """Of a run that stands there; `save` writes the learner's half into a folder. Older ones go as
    run.keep_checkpoints says."""
    path, held = job.folder.path, mirror.held if mirror else ()
    written = await write_checkpoint(path, at, save=save, record=job.record_at(at))
    await asyncio.to_thread(prune, path, written=written, keep=job.config.run.keep_checkpoints, held=held)
    if mirror:
        mirror.offer(written)


def count_start(job: Job, *, proofs: int) -> None:
    """A version that the learner starts from is published and proven too, outside of any step's metrics."""
    old = job.folder.facts.get("starts", {})
    job.folder.write_facts(
        "starts", {"publishes": int(old.get("publishes", 0)) + 1, "proofs": int(old.get("proofs", 0)) + proofs}
    )


@dataclass(slots=True)
class _Updates:
    job: Job
    actors: Actors
    stop: asyncio.Event
    mirror: Mirror | None
    quarantine: Quarantine = field(init=False)
    restarts: int = 0  # of the learner, since the last step that was logged

    def __post_init__(self) -> None:
        folder, limit = self.job.folder, self.job.config.data.max_quarantined
        self.quarantine = Quarantine(limit=limit, note=folder.log_quarantined, held=folder.quarantined)

    @property
    def parts(self) -> loop.Parts:
        return loop.Parts(rollouts=self.actors.rollouts, reward=self.actors.reward, learner=self.actors.learner)

    async def run(self) -> loop.Totals:
        restarts = self.job.config.learner.restarts
        if restarts and self.job.config.loop.steps and not self.job.checkpoint:
            await self.save(loop.Position())  # so that there is always one to go back to
        return await train_through_deaths(self.train, start=self.job.start, restarts=restarts, restore=self.restore)

    async def train(self, start: loop.Position) -> loop.Totals:
        job = self.job
        with Progress(job.folder, job.config, done=start.step, also=self.metrics) as progress:
            return await loop.train(
                job.config,
                parts=self.parts,
                prompt_at=job.prompt_at,
                trace=job.trace,
                observer=progress,
                quarantine=self.quarantine,
                checkpoint=self.save,
                stop=self.stop,
                start=start,
            )

    async def save(self, at: loop.Position) -> None:
        await save_checkpoint(self.job, at, save=self.actors.learner.save, mirror=self.mirror)

    async def restore(self, death: ProcessDiedError) -> loop.Position:
        job, folder, began = self.job, self.job.folder, time.time()
        with job.trace.span("restart", worker="learner", role="learner"):
            await self.actors.learner.restart(limit_s=job.config.ray.start_timeout_s)
            checkpoint = await asyncio.to_thread(latest_checkpoint, folder.path)
            if checkpoint is None:
                raise DataError(
                    f"{folder.path}: no checkpoint is whole, so the learner cannot be brought back: {death}"
                )
            await self.actors.learner.load(str(checkpoint.folder))
            proofs = await loop.deliver(self.parts, trace=job.trace)
        position, seconds = checkpoint.position, time.time() - began
        folder.cut_back(position.step)
        folder.log_fault(
            Fault(
                began,
                role="learner",
                worker="learner",
                kind=kind_of(death),
                cause=first_line(death),
                requeued=tuple(job.under_way(position)),
                recover_s=seconds,
            )
        )
        job.admitted.clear()
        self.restarts += 1
        count_start(job, proofs=len(proofs))
        say(f"the learner is back at update {position.step} after {seconds:.1f} s")
        return position

    def metrics(self) -> dict[str, float]:
        """What is added to a step's."""
        restarts, self.restarts = self.restarts, 0
        return {"faults/learner_restarts": float(restarts), **(self.mirror.metrics if self.mirror else {})}
