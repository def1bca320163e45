"""The main job, stage by stage.

    data -> knowledge -> policy v0 (reader, traces, warm start) -> actors -> held-out before -> RLVR -> held-out after
         -> a real photograph -> report

In: a checked configuration. Out: the run folder. Everything slow reports its progress; everything that can be wrong
with the input is found before the first actor starts.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fundus_ray import loop
from fundus_ray.checkpoints import Checkpoint, checkpoints, latest_checkpoint, write_checkpoint
from fundus_ray.config import Config
from fundus_ray.data.option_order import in_order
from fundus_ray.data.order import samples_in_order
from fundus_ray.data.rendered.photo import photograph
from fundus_ray.data.source import DataSplit, load_data
from fundus_ray.errors import ConfigError, DataError, FundusRayError
from fundus_ray.evaluate.metrics import EvalResult
from fundus_ray.evaluate.run import evaluate
from fundus_ray.first_policy import first_policy
from fundus_ray.knowledge.store import BuiltStore, build_store, read_corpus, records_of
from fundus_ray.obs.report import write_report
from fundus_ray.obs.sinks import RunFolder, checkpoint_name
from fundus_ray.obs.trace import Trace
from fundus_ray.progress import Progress
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.reward.plugin import load_plugin
from fundus_ray.runtime import Actors, check_machine, start
from fundus_ray.types import Prompt, Sample, Sampling

SEEDS_A_RUN = 2**40  # sampling seeds of different run seeds never meet


@dataclass(frozen=True, slots=True)
class _Job:
    """What the stages share."""

    config: Config
    split: DataSplit
    folder: RunFolder
    trace: Trace
    cache_dir: Path
    checkpoint: Checkpoint | None  # where a resumed run goes on
    sample_at: Callable[[int], Sample]  # by position in the order of prompts

    @property
    def start(self) -> loop.Position:
        return self.checkpoint.position if self.checkpoint else loop.Position()

    def prompt_at(self, group_id: int) -> Prompt:
        seed = self.config.run.seed
        first = seed * SEEDS_A_RUN + group_id * self.config.rollout.group_size
        return build_prompt(self.sample_at(group_id), group_id=group_id, seed=first)


def run(config: Config, *, resume: Path | None = None) -> Path:
    """The whole job; `resume` is a run folder to go on with. Returns the run folder.

    Raises ConfigError or DataError before any actor starts where the input cannot work, KeyboardInterrupt after an
    orderly stop, WorkerDiedError and DeliveryError where the system fails.
    """
    if resume:  # a relative run.dir means another folder now, and a run may have been moved
        config = replace(config, run=replace(config.run, dir=str(resume.resolve().parent)))
    cache_dir = Path(config.run.dir).resolve() / "cache"  # workers may run in another folder
    config = _with_absolute_paths(config)
    check_machine(config)
    if config.reward.plugin:
        load_plugin(config.reward.plugin)  # a mistake in it must not wait for the actors
    checkpoint = _checkpoint(resume) if resume else None
    began = time.perf_counter()
    _say("data: samples to learn from and samples held out")
    records = records_of(config.knowledge)
    split = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids)
    folder = _open_folder(config, resume=resume, checkpoint=checkpoint)
    folder.add_stage_seconds("data", time.perf_counter() - began)
    try:
        _check_same_store(folder, split.content)
        _check_same_order(folder, config.data.order)
        with _stage(folder, "knowledge", f"the store that rewards cite from ({config.knowledge.store})"):
            store = asyncio.run(_build_knowledge(config, folder=cache_dir / "knowledge"))
            _check_same_knowledge(folder, store.snapshot)
        policy = first_policy(
            config, split.train, records=records, cache_dir=cache_dir, stage=lambda *named: _stage(folder, *named)
        )
        model_path = policy.model_path
        _check_same_base(folder, model_path)
        folder.write_facts("policy", {"base": str(model_path.resolve())})
        if policy.traces:
            folder.write_facts("traces", {"folder": str(policy.traces), "verdicts": policy.verdicts})
        order = samples_in_order(split.train, order=config.data.order, seed=config.run.seed)
        job = _Job(config, split, folder, Trace(), cache_dir, checkpoint, order)
        try:
            stopped = asyncio.run(_with_actors(job, model_path=model_path, store=store))
        except asyncio.CancelledError:  # the second Ctrl-C
            raise KeyboardInterrupt from None
        except FundusRayError:
            _after_a_failure(folder)
            raise
        finally:
            since = f"-after-{job.start.step}" if job.start.step else ""
            job.trace.write(folder.path / f"trace{since}.json")
        with folder.time_stage("report"):
            write_report(folder.path)
        if stopped:
            _say(f"stopped after a checkpoint; go on with: fundus-ray train --resume {folder.path}")
            raise KeyboardInterrupt
        return folder.path
    finally:
        folder.close()


@contextmanager
def _stage(folder: RunFolder, name: str, doing: str) -> Iterator[None]:
    _say(f"{name}: {doing}")
    with folder.time_stage(name):
        yield


def _after_a_failure(folder: RunFolder) -> None:
    """Where to go on, and the report. What goes wrong here must not hide why the run ended."""
    try:
        last = latest_checkpoint(folder.path)
        if last is None:
            _say("no checkpoint was written, so there is nothing to go on from")
        else:
            again = f"fundus-ray train --resume {folder.path}"
            _say(f"the last checkpoint is that of update {last.position.step}; once mended, go on with: {again}")
        write_report(folder.path)
    except FundusRayError as err:
        _say(f"no report could be made: {err}")


async def _build_knowledge(config: Config, *, folder: Path) -> BuiltStore:
    corpus = read_corpus(config.knowledge)
    if corpus.problems:
        _say(f"knowledge: {len(corpus.problems)} files or rows left out, the first: {corpus.problems[0]}")
    retriever = await build_store(config.knowledge, folder=folder, corpus=corpus)
    await retriever.close()
    return BuiltStore(folder=folder, snapshot=retriever.snapshot)


async def _with_actors(job: _Job, *, model_path: Path, store: BuiltStore) -> bool:
    """All stages that need actors. Returns whether the run was asked to stop before its end."""
    config, folder = job.config, job.folder
    began = time.perf_counter()
    _say(
        f"actors: {config.rollout.workers} rollout, {config.reward.workers} reward, 1 learner; "
        f"logs in {folder.path}/logs"
    )
    async with start(config, model_path=model_path, knowledge=store, run_dir=folder.path, trace=job.trace) as actors:
        if job.checkpoint:
            await actors.learner.load(str(job.checkpoint.folder))
        first_proofs = await loop.deliver(actors.parts, trace=job.trace)
        if job.checkpoint:
            folder.cut_back(job.start.step)
            _write_what_runs(folder, config)
        folder.add_stage_seconds("start", time.perf_counter() - began)
        _count_start(folder, proofs=len(first_proofs))
        if config.evaluate.before and not job.checkpoint:
            await _evaluate(job, actors, when="before", stage="evaluate_before")
        stop = asyncio.Event()
        with folder.time_stage("rl"), _orderly_stop(stop), Progress(folder, config, done=job.start.step) as progress:
            totals = await loop.train(
                config,
                parts=actors.parts,
                prompt_at=job.prompt_at,
                trace=job.trace,
                observer=progress,
                checkpoint=lambda at: _save(job, actors, at),
                stop=stop,
                start=job.start,
            )
        assert totals.lag_max <= config.max_lag
        if stop.is_set():
            return True
        if config.loop.steps:  # without updates it would be `before` once more
            await _evaluate(job, actors, when="after", stage="evaluate_after")
        await _read_photograph(job, actors)
        if config.evaluate.checkpoints:  # last of all, as the actors then hold older versions
            await _evaluate_checkpoints(job, actors, last=totals.position.step)
    return False


async def _evaluate_checkpoints(job: _Job, actors: Actors, *, last: int) -> None:
    """Each but that of the last update, which `after` is about, by the same engines; training has ended."""
    for checkpoint in checkpoints(job.folder.path):
        step = checkpoint.position.step
        if step < last:
            await actors.learner.load(str(checkpoint.folder))
            # No spans: the trace names those of training by their step, which was delivered then.
            await actors.rollouts.set_policy(await actors.learner.publish())
            await _evaluate(job, actors, when=checkpoint_name(step), stage="evaluate_checkpoints")


async def _evaluate(job: _Job, actors: Actors, *, when: str, stage: str) -> EvalResult | None:
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
        )
    job.folder.log_evaluation(when, result)
    accuracy = "-"
    if result.accuracy is not None:
        accuracy = f"{result.accuracy:.3f} [{result.accuracy_low:.3f}, {result.accuracy_high:.3f}]"
    f1 = "-" if result.finding_f1 is None else f"{result.finding_f1:.3f}"
    failed = "".join(f", {count} {reason}" for reason, count in sorted(result.failed.items()))
    _say(f"held-out {when}: accuracy {accuracy}, finding F1 {f1}, n = {result.n}{failed}")
    return result


async def _read_photograph(job: _Job, actors: Actors) -> None:
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
    _say(f"a real photograph (CC0, scikit-image; {seen}):")
    print(f"   {text}", flush=True)


def _count_start(folder: RunFolder, *, proofs: int) -> None:
    """The version that a process starts from is published and proven too, outside of any step's metrics."""
    old = folder.facts.get("starts", {})
    folder.write_facts(
        "starts", {"publishes": int(old.get("publishes", 0)) + 1, "proofs": int(old.get("proofs", 0)) + proofs}
    )


def _check_same_store(folder: RunFolder, content: str) -> None:
    """The order of prompts goes on exactly only over the same rows. Raises ConfigError where a resumed run would have
    others; content: "" = the data are no store."""
    before = folder.facts.get("data", {}).get("store")
    if before is not None and before != content:
        raise ConfigError(
            f"--resume {folder.path}: it learned from a store with content {before[:12]}, but data.path holds "
            f"{content[:12] or 'no store'} now; give the old store, or start a new run"
        )
    if content:
        folder.write_facts("data", {"store": content})


def _check_same_order(folder: RunFolder, order: str) -> None:
    """Raises ConfigError where a resumed run would draw its prompts in another order."""
    before = folder.facts.get("order", {}).get("data.order", order)
    if before != order:
        raise ConfigError(
            f"--resume {folder.path}: its prompts come by data.order={before}, not {order}; leave it as it was"
        )
    folder.write_facts("order", {"data.order": order})


def _check_same_base(folder: RunFolder, model_path: Path) -> None:
    """An adapter means nothing on other base weights. Raises ConfigError where a resumed run would have them."""
    before = folder.facts.get("policy", {}).get("base")
    if before is not None and before != str(model_path.resolve()):
        raise ConfigError(
            f"--resume {folder.path}: its policy stands on {before}, but these settings give {model_path}; leave "
            "run.seed, data.*, traces.*, sft.* and policy.* as they were"
        )


def _check_same_knowledge(folder: RunFolder, snapshot: str) -> None:
    """Half a run scored by other knowledge is no run. Raises ConfigError where a resumed one would be."""
    before = folder.facts.get("knowledge", {}).get("snapshot")
    if before is not None and before != snapshot:
        raise ConfigError(
            f"--resume {folder.path}: it was scored with knowledge snapshot {before}, but the passages, records and "
            f"settings here make {snapshot}; leave knowledge.* and what it names as they were"
        )
    folder.write_facts("knowledge", {"snapshot": snapshot})


async def _save(job: _Job, actors: Actors, at: loop.Position) -> None:
    await write_checkpoint(job.folder.path, at, save=actors.learner.save)


@contextmanager
def _orderly_stop(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the step end and a checkpoint be written; the second one ends at once."""
    running, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask() -> None:
        if stop.is_set():
            task.cancel()
        else:
            stop.set()
            _say("stopping after this update and a checkpoint; once more to stop at once")

    for number in numbers:
        running.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in numbers:
            running.remove_signal_handler(number)
            signal.signal(number, before[number])


def _greedy(config: Config) -> Sampling:
    return Sampling(n=1, temperature=0.0, max_tokens=config.rollout.max_tokens)


def _with_absolute_paths(config: Config) -> Config:
    """Workers read these files too, and may run in another folder."""
    knowledge = config.knowledge
    found: dict[str, Any] = {
        key: str(Path(value).resolve())
        for key in ("passages_dir", "records_dir", "embeddings", "ca_certs")
        if (value := getattr(knowledge, key)) and (key, value) != ("embeddings", "minilm")
    }
    traces = str(Path(config.sft.traces).resolve()) if config.sft.traces else ""
    judge = str(Path(config.reward.checker_model).resolve()) if config.reward.checker_model else ""
    return replace(
        config,
        knowledge=replace(knowledge, **found),
        sft=replace(config.sft, traces=traces),
        reward=replace(config.reward, checker_model=judge),
    )


def _checkpoint(run_dir: Path) -> Checkpoint:
    found = latest_checkpoint(run_dir)
    if found is None:
        raise DataError(
            f"{run_dir} holds no complete checkpoint; start a new run, with loop.checkpoint_every set lower"
        )
    return found


def _open_folder(config: Config, *, resume: Path | None, checkpoint: Checkpoint | None) -> RunFolder:
    if resume and checkpoint:
        if checkpoint.position.step > config.loop.steps:
            raise ConfigError(
                f"loop.steps={config.loop.steps} lies before the checkpoint of {resume} "
                f"at step {checkpoint.position.step}; set it higher"
            )
        return RunFolder.open(resume)
    folder = RunFolder.create(Path(config.run.dir).resolve(), name=config.run.name)
    _write_what_runs(folder, config)
    return folder


def _write_what_runs(folder: RunFolder, config: Config) -> None:
    folder.write_config(config)
    folder.write_versions()


def _say(text: str) -> None:
    tqdm.write(f"== {text}")
