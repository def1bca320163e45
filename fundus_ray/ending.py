"""How a run ends, whatever its stages are: the trace, the report, and where to go on from.

In: a job, and its stages that need actors. Out: the run folder with its report; or the error that ended the stages,
after the user was told what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fundus_ray.checkpoints import latest_checkpoint
from fundus_ray.errors import FundusRayError
from fundus_ray.obs.report import write_report
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.progress import say
from fundus_ray.run_job import Job


def run_to_its_end(job: Job, stages: Coroutine[Any, Any, bool], *, command: str = "fundus-ray train") -> Path:
    """Carry the stages out; they return whether they were asked to stop before their end. Returns the run folder.

    command: what `--resume RUN` goes on with. Raises KeyboardInterrupt after an orderly stop, and what the stages do.
    """
    folder = job.folder
    again = f"{command} --resume {folder.path}"
    try:
        stopped = asyncio.run(stages)
    except (asyncio.CancelledError, KeyboardInterrupt):  # the second signal, or one while actors start
        after_a_stop(folder, again=again)
        raise KeyboardInterrupt from None
    except (FundusRayError, OSError):  # of the latter a full disk, say
        after_a_failure(folder, again=again)
        raise
    finally:
        _write_trace(job)
    with told_if_stopped(folder, again=again):
        with folder.time_stage("report"):
            write_report(folder.path)
        if stopped:
            raise KeyboardInterrupt
    return folder.path


@contextmanager
def told_if_stopped(folder: RunFolder, *, again: str) -> Iterator[None]:
    """Where the body is stopped, say where the run stands."""
    try:
        yield
    except KeyboardInterrupt:
        after_a_stop(folder, again=again)
        raise


def _write_trace(job: Job) -> None:
    """A trace that cannot be written must not hide how the stages ended."""
    since = f"-after-{job.start.step}" if job.start.step else ""
    try:
        job.trace.write(job.folder.path / f"trace{since}.json")
    except OSError as err:
        say(f"no trace could be written: {err}")


def after_a_stop(folder: RunFolder, *, again: str) -> None:
    """Say where the run stands."""
    last = latest_checkpoint(folder.path)
    if last is None:
        say("stopped before the first checkpoint; start the run anew: what is in its cache is not made again")
    else:
        say(f"stopped; the checkpoint of update {last.position.step} stands; go on with: {again}")


def after_a_failure(folder: RunFolder, *, again: str) -> None:
    """Where to go on, and the report. What goes wrong here must not hide why the run ended."""
    try:
        last = latest_checkpoint(folder.path)
        if last is None:
            say("no checkpoint was written, so there is nothing to go on from")
        else:
            say(f"the last checkpoint is that of update {last.position.step}; once mended, go on with: {again}")
        write_report(folder.path)
    except (FundusRayError, OSError) as err:
        say(f"no report could be made: {err}")
