"""The stages that need actors: held-out before, RLVR with its checkpoints, held-out after, a real photograph.

In: the job, that is the configuration with its data and the run folder, and the policy and knowledge that actors start
from. Out: what the stages write into the run folder.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from fundus_ray import loop
from fundus_ray.checkpoints import check_whole, checkpoints
from fundus_ray.config import Config
from fundus_ray.data.option_order import in_order
from fundus_ray.data.rendered.photo import photograph
from fundus_ray.evaluate.metrics import EvalResult
from fundus_ray.evaluate.run import evaluate
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.obs.sinks import RunFolder, checkpoint_name
from fundus_ray.progress import say
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.resume import write_what_runs
from fundus_ray.rlvr import count_start, train_policy
from fundus_ray.run_job import Job
from fundus_ray.runtime import Actors, start
from fundus_ray.stopping import orderly_stop, until_stopped
from fundus_ray.types import Sampling


async def train_with_actors(job: Job, *, model_path: Path, store: BuiltStore) -> bool:
    """All stages that need actors. Returns whether the run was asked to stop before its end."""
    config, folder = job.config, job.folder
    began = time.perf_counter()
    say(
        f"actors: {config.rollout.workers} rollout, {config.reward.workers} reward, {config.learner.ranks} learner; "
        f"logs in {folder.path}/logs"
    )
    async with start(
        config,
        model_path=model_path,
        knowledge=store,
        run_dir=folder.path,
        trace=job.trace,
        tell=folder.log_fault,
    ) as actors:
        if job.checkpoint:
            await actors.learner.load(str(job.checkpoint.folder))
        first_proofs = await loop.deliver(actors.parts, trace=job.trace)
        if job.checkpoint:
            folder.cut_back(job.start.step)
            write_what_runs(folder, config)
        folder.add_stage_seconds("start", time.perf_counter() - began)
        count_start(job, proofs=len(first_proofs))
        stop = asyncio.Event()
        with orderly_stop(stop, say=say):
            if config.evaluate.before and not job.checkpoint:
                await until_stopped(_evaluate(job, actors, when="before", stage="evaluate_before"), stop)
            if not stop.is_set():
                with folder.time_stage("rl"):
                    totals = await train_policy(job, actors, stop=stop)
                assert totals.lag_max <= config.max_lag
                await note_adapter(folder, actors.learner)
            if not stop.is_set():
                await until_stopped(_show_what_came_of_it(job, actors, last=totals.position.step), stop)
    return stop.is_set()


async def _show_what_came_of_it(job: Job, actors: Actors, *, last: int) -> None:
    if job.config.loop.steps:  # without updates it would be `before` once more
        await _evaluate(job, actors, when="after", stage="evaluate_after")
    await _read_photograph(job, actors)
    if job.config.evaluate.checkpoints:  # last of all, as the actors then hold older versions
        await _evaluate_checkpoints(job, actors, last=last)


async def note_adapter(folder: RunFolder, learner: loop.Learner) -> None:
    """Which weights training ended with: equal settings and rollouts give an equal hash."""
    version = (await learner.publish()).version
    folder.write_facts("adapter", {"step": version.step, "sha256": version.sha256})
    say(f"policy version {version.step}: adapter sha256 {version.sha256}")


async def _evaluate_checkpoints(job: Job, actors: Actors, *, last: int) -> None:
    """Each but those of the start and of the last update, which `before` and `after` are about, by the same engines;
    training has ended. Raises DataError where one is damaged."""
    for checkpoint in checkpoints(job.folder.path):
        step = checkpoint.position.step
        if 0 < step < last:
            await asyncio.to_thread(check_whole, checkpoint)
            await actors.learner.load(str(checkpoint.folder))
            # No spans: the trace names those of training by their step, which was delivered then.
            await actors.rollouts.set_policy(await actors.learner.publish())
            await _evaluate(job, actors, when=checkpoint_name(step), stage="evaluate_checkpoints")


async def _evaluate(job: Job, actors: Actors, *, when: str, stage: str) -> EvalResult | None:
    samples = job.split.evaluation[: job.config.evaluate.samples]
    if not samples:
        return None
    with job.folder.time_stage(stage):
        result = await evaluate(
            actors.rollouts.generate,
            actors.reward.score,
            samples,
            sampling=_greedy(job.config),
            concurrency=job.config.rollout.max_seqs * job.config.rollout.workers,
            timeout_s=job.config.loop.stall_s,
            label=f"held-out {when}",
            image_paths=job.config.run.image_paths,
        )
    job.folder.log_evaluation(when, result)
    accuracy = "-"
    if result.accuracy is not None:
        accuracy = f"{result.accuracy:.3f} [{result.accuracy_low:.3f}, {result.accuracy_high:.3f}]"
    f1 = "-" if result.finding_f1 is None else f"{result.finding_f1:.3f}"
    failed = "".join(f", {count} {reason}" for reason, count in sorted(result.failed.items()))
    say(f"held-out {when}: accuracy {accuracy}, finding F1 {f1}, n = {result.n}{failed}")
    return result


async def _read_photograph(job: Job, actors: Actors) -> None:
    """One real image at the end, honestly labelled: rendered eyes are all that this policy has seen."""
    if not job.config.evaluate.photo:
        return
    data = job.config.data
    task = "laterality" if data.source == "photo" else "diagnosis"  # what the policy was asked in training
    sample = in_order(photograph(job.cache_dir, image_px=data.image_px, task=task), option_order=data.option_order)
    with job.folder.time_stage("photo"):
        group = await actors.rollouts.generate(build_prompt(sample, group_id=0, seed=0), _greedy(job.config))
        scored = (await actors.reward.score(group)).scored[0]
    text = group.rollouts[0].text
    facts = {
        "image": sample.image.path,
        "question": sample.question,
        "options": list(sample.options),
        "text": text,
        "answer": list(scored.answer or ()),
        "expected": list(sample.answer),
        "explanation": list(scored.explanation),
        "policy_step": group.policy.step,
    }
    job.folder.write_facts("photo", facts)
    seen = {
        "photo": "views of it were trained on",
        "phantoms": "out of distribution: it saw rendered eyes only",
        "jsonl": "not one of your images",
        "store": "not one of the store's images",
    }[data.source]
    say(f"a real photograph (CC0, scikit-image; {seen}):")
    print(f"   {text}", flush=True)


def _greedy(config: Config) -> Sampling:
    return Sampling(n=1, temperature=0.0, max_tokens=config.rollout.max_tokens)
