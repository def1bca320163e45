"""The main job, stage by stage.

    doctor -> data -> knowledge -> policy v0 (reader, traces, warm start) -> actors -> held-out before -> RLVR
           -> held-out after -> a real photograph -> report

In: a checked configuration. Out: the run folder. Everything slow reports its progress; everything that can be wrong
with the input is found before the first actor starts.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fundus_ray import recording
from fundus_ray.cluster import check_machine
from fundus_ray.config import Config
from fundus_ray.data.content import samples_content
from fundus_ray.data.order import samples_in_order
from fundus_ray.data.source import load_data
from fundus_ray.doctor.examine import preflight
from fundus_ray.ending import run_to_its_end, told_if_stopped
from fundus_ray.first_policy import first_policy
from fundus_ray.knowledge.store import BuiltStore, build_store, read_corpus, records_of
from fundus_ray.mirror import check_place
from fundus_ray.obs.trace import Trace
from fundus_ray.policy.weights_hash import weights_sha256
from fundus_ray.progress import say, stage
from fundus_ray.resume import Origin, check_recording, last_of, open_folder
from fundus_ray.reward.plugin import load_plugin
from fundus_ray.run_job import Job
from fundus_ray.training import train_with_actors


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
    check_place(config.run.checkpoints)
    preflight(config)
    if config.reward.plugin:
        load_plugin(config.reward.plugin)  # a mistake in it must not wait for the actors
    checkpoint = last_of(resume, config) if resume else None
    origin = Origin(config, resume=resume, checkpoint=checkpoint)
    began = time.perf_counter()
    say("data: samples to learn from and samples held out")
    records = records_of(config.knowledge)
    split = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids)
    origin.add("data", split.content or samples_content(split.train))
    sample_at = samples_in_order(split.train, order=config.data.order, seed=config.run.seed)
    origin.check_order(sample_at)
    folder = open_folder(config, resume=resume, checkpoint=checkpoint)
    folder.add_stage_seconds("data", time.perf_counter() - began)
    try:
        with told_if_stopped(folder, again=f"fundus-ray train --resume {folder.path}"):
            check_recording(folder, config, step=checkpoint.position.step if checkpoint else 0)
            with stage(folder, "knowledge", f"the store that rewards cite from ({config.knowledge.store})"):
                store = asyncio.run(_build_knowledge(config, folder=cache_dir / "knowledge"))
                origin.add("knowledge", store.snapshot)
            folder.write_facts("knowledge", {"snapshot": store.snapshot})
            policy = first_policy(
                config, split.train, records=records, cache_dir=cache_dir, stage=partial(stage, folder)
            )
            model_path = policy.model_path
            base_sha256 = weights_sha256(model_path)
            origin.add("base", base_sha256)
            folder.write_facts("policy", {"base": str(model_path.resolve())})
            if config.run.record:
                folder.write_facts(recording.FACT, recording.recorded_from(model_path, sha256=base_sha256))
            if policy.traces:
                folder.write_facts("traces", {"folder": str(policy.traces), "verdicts": policy.verdicts})
        job = Job(config, split, folder, Trace(), cache_dir, checkpoint, sample_at, origin.record)
        return run_to_its_end(job, train_with_actors(job, model_path=model_path, store=store))
    finally:
        folder.close()


async def _build_knowledge(config: Config, *, folder: Path) -> BuiltStore:
    corpus = read_corpus(config.knowledge)
    if corpus.problems:
        say(f"knowledge: {len(corpus.problems)} files or rows left out, the first: {corpus.problems[0]}")
    retriever = await build_store(config.knowledge, folder=folder, corpus=corpus)
    await retriever.close()
    return BuiltStore(folder=folder, snapshot=retriever.snapshot)


def _with_absolute_paths(config: Config) -> Config:
    """Workers read these files too, and may run in another folder."""
    knowledge = config.knowledge
    found: dict[str, Any] = {
        key: str(Path(value).resolve())
        for key in ("passages_dir", "records_dir", "embeddings", "ca_certs", "api_key_file")
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
