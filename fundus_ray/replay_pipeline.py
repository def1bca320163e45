"""Training from recorded rollouts, stage by stage: no engine, no reward worker, no knowledge store.

    doctor -> data -> learner -> the updates of the recorded run, made again -> report

In: a checked configuration and a run that recorded (`run.record`). Out: a run folder of its own, with checkpoints to go
on from. It is for trying other settings of the learner on the same rollouts, and for finding where a run went wrong:
with the settings of the recorded run every policy version comes out the same, bit for bit, on a CPU.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from fundus_ray import loop
from fundus_ray.checkpoints import Checkpoint
from fundus_ray.cluster import check_machine
from fundus_ray.config import Config
from fundus_ray.data.content import samples_content
from fundus_ray.data.order import samples_in_order
from fundus_ray.data.source import load_data
from fundus_ray.doctor.examine import preflight_learner
from fundus_ray.ending import run_to_its_end
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.store import records_of
from fundus_ray.mirror import check_place
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.trace import Trace
from fundus_ray.progress import Progress, say
from fundus_ray.recording import Recording, as_replayed
from fundus_ray.replay import NothingLeftOut, Replay
from fundus_ray.resume import Origin, last_of, open_folder, write_what_runs
from fundus_ray.rlvr import mirrored, save_checkpoint
from fundus_ray.run_job import Job
from fundus_ray.runtime import start_learner
from fundus_ray.stopping import orderly_stop
from fundus_ray.training import note_adapter

FACT = "replay"  # which recording the run is of, and how it compares


def replay(config: Config, *, recorded: Path, resume: Path | None = None) -> Path:
    """Learn from the rollouts that the run `recorded` wrote; `resume` is a run folder of such a replay to go on with.
    Returns the run folder.

    Raises ConfigError or DataError before the learner starts where settings or files do not fit, KeyboardInterrupt
    after an orderly stop, WorkerDiedError where the learner fails.
    """
    recording = Recording.open(recorded)
    config = as_replayed(config, recording)
    if resume:
        config = replace(config, run=replace(config.run, dir=str(resume.resolve().parent)))
    else:
        config = replace(config, run=replace(config.run, name=f"{config.run.name}-replay"))
    cache_dir = Path(config.run.dir).resolve() / "cache"
    check_machine(config)
    check_place(config.run.checkpoints)
    preflight_learner(config, base=recording.base)
    checkpoint = last_of(resume, config) if resume else None
    origin = Origin(config, resume=resume, checkpoint=checkpoint)
    began = time.perf_counter()
    say(f"data: the samples that {recording.run_dir} learned from")
    records = records_of(config.knowledge)
    split = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids)
    origin.add("data", split.content or samples_content(split.train))
    origin.add("base", recording.base_sha256)
    sample_at = samples_in_order(split.train, order=config.data.order, seed=config.run.seed)
    origin.check_order(sample_at)
    folder = _open(config, resume=resume, checkpoint=checkpoint, recording=recording)
    folder.add_stage_seconds("data", time.perf_counter() - began)
    try:
        folder.write_facts("policy", {"base": str(recording.base)})
        job = Job(config, split, folder, Trace(), cache_dir, checkpoint, sample_at, origin.record)
        command = f"fundus-ray train --replay {recording.run_dir}"
        return run_to_its_end(job, _train_again(job, recording), command=command)
    finally:
        folder.close()


def _open(config: Config, *, resume: Path | None, checkpoint: Checkpoint | None, recording: Recording) -> RunFolder:
    """A new run folder, or that of a replay of this recording."""
    folder = open_folder(config, resume=resume, checkpoint=checkpoint)
    fact = {"of": str(recording.run_dir), "sha256": recording.sha256, "updates": recording.steps}
    if resume and folder.facts.get(FACT, {}).get("sha256") != recording.sha256:
        other = folder.facts.get(FACT, {}).get("of")
        folder.close()
        what = f"is a replay of {other}" if other else "wrote its own rollouts"
        raise ConfigError(f"--resume {resume} {what}, so it cannot go on with --replay {recording.run_dir}")
    folder.write_facts(FACT, fact)
    return folder


async def _train_again(job: Job, recording: Recording) -> bool:
    """The loop over recorded groups. Returns whether the run was asked to stop before its end."""
    config, folder, start = job.config, job.folder, job.start
    began = time.perf_counter()
    say(f"actors: 1 learner, no engine, no reward worker; logs in {folder.path}/logs")
    async with start_learner(config, model_path=recording.base, run_dir=folder.path) as learner:
        if job.checkpoint:
            await learner.load(str(job.checkpoint.folder))
        replayed = Replay(
            recording.run_dir,
            after=start.step,
            upto=config.loop.steps,
            groups_per_step=config.loop.groups_per_step,
            prompt_of=job.prompt_at,
        )
        parts = loop.Parts(rollouts=replayed, reward=replayed, learner=learner)
        await loop.deliver(parts, trace=job.trace)
        if job.checkpoint:
            folder.cut_back(start.step)
            write_what_runs(folder, config)
        folder.add_stage_seconds("start", time.perf_counter() - began)
        stop = asyncio.Event()
        with (
            folder.time_stage("rl"),
            orderly_stop(stop, say=say),
            Progress(folder, config, done=start.step) as progress,
        ):
            async with mirrored(job) as mirror:
                await loop.train(
                    config,
                    parts=parts,
                    prompt_at=replayed.prompt_at,
                    trace=job.trace,
                    observer=progress,
                    quarantine=NothingLeftOut(),
                    checkpoint=lambda at: save_checkpoint(job, at, save=learner.save, mirror=mirror),
                    stop=stop,
                    start=start,
                )
        await note_adapter(folder, learner)
        _say_compared(folder, replayed)
        return stop.is_set()


def _say_compared(folder: RunFolder, replayed: Replay) -> None:
    same, other = replayed.compared()
    folder.write_facts(FACT, {**folder.facts[FACT], "same_versions": same, "other_versions": other})
    if other:
        say(f"replay: policy version {other[0]} is the first of {len(other)} that differ from the recorded ones")
    else:
        say(f"replay: all {same} policy versions that wrote recorded rollouts came out the same")
