"""Read one image with a trained policy, without Ray.

In: a run folder (its newest checkpoint) or a checkpoint of Qwen2.5-VL, an image, a question. Out: the chain.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fundus_ray.checkpoints import latest_checkpoint
from fundus_ray.cluster import WORKER_ENV
from fundus_ray.config import Config, load
from fundus_ray.data.images import image_ref
from fundus_ray.data.option_order import in_order
from fundus_ray.data.rendered.phantoms import DISEASES, QUESTION
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.learner.worker import ADAPTER_FOLDER
from fundus_ray.obs.log_file import output_to
from fundus_ray.obs.strict_json import read_json
from fundus_ray.policy.adapter import load_published, publish
from fundus_ray.policy.load import load_policy, with_adapter
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.rollout.delivery import check_proofs
from fundus_ray.rollout.worker import RolloutWorker
from fundus_ray.types import Modality, PublishedAdapter, Sample, Sampling


def generate_once(
    *, policy: Path, image: Path, question: str | None, options: Sequence[str], log_path: Path | None = None
) -> str:
    """The greedy chain about one image. Without a question: the diagnosis question of the phantoms.

    Raises ConfigError where `policy` is neither a run folder nor a checkpoint, DataError where the image or the
    checkpoint cannot be read.
    """
    config, base, checkpoint = _locate(policy)
    sample = in_order(_sample(image, question=question, options=options), option_order=config.data.option_order)
    os.environ.update(WORKER_ENV)
    with output_to(log_path or Path(os.devnull)):
        return asyncio.run(_generate(config, base=base, checkpoint=checkpoint, sample=sample))


async def _generate(config: Config, *, base: Path, checkpoint: Path | None, sample: Sample) -> str:
    adapter = load_published(checkpoint / ADAPTER_FOLDER) if checkpoint else _neutral_adapter(config, base)
    worker = RolloutWorker(config, str(base), "reader", "")
    await worker.start()
    try:
        proof = await worker.take(adapter)
        tolerance = config.probe_tolerance
        check_proofs(adapter.version, [proof], engines=["reader"], tolerance=tolerance)
        await worker.serve(adapter.version)
        sampling = Sampling(n=1, temperature=0.0, max_tokens=config.rollout.max_tokens)
        group = await worker.generate(build_prompt(sample, group_id=0, seed=0), sampling)
    finally:
        await worker.close()
    return group.rollouts[0].text


def _locate(policy: Path) -> tuple[Config, Path, Path | None]:
    """(configuration, base weights, checkpoint folder or None)."""
    if (policy / "facts.json").is_file():
        found = latest_checkpoint(policy)
        if found is None:
            raise DataError(f"{policy} holds no complete checkpoint yet")
        base = Path(read_json(policy / "facts.json")["policy"]["base"])
        if not (base / "config.json").is_file():
            raise DataError(f"{policy} rests on base weights that are not there any more: {base}")
        config = load(policy / "config.yaml")
        # This machine need not have the cores of the one that trained.
        return replace(config, rollout=replace(config.rollout, cores="")), base, found.folder
    if (policy / "config.json").is_file():
        return load(None, [f"policy.path={policy}"]), policy, None
    raise ConfigError(f"--policy {policy} is neither a run folder (facts.json) nor a checkpoint (config.json)")


def _sample(image: Path, *, question: str | None, options: Sequence[str]) -> Sample:
    if question is None and options:
        raise ConfigError(
            "--options needs --question: without one, question and options of the diagnosis task are used"
        )
    return Sample(
        id=image.name,
        image=image_ref(image),
        modality=Modality.CFP,
        question=question or QUESTION,
        options=tuple(options) if question else DISEASES,
        answer=(),
        task="reading",
        source=str(image),
        split="eval",
        patient_id=image.name,
    )


def _neutral_adapter(config: Config, base: Path) -> PublishedAdapter:
    """Version 0 of a checkpoint that was never trained here: its adapter changes nothing."""
    policy = load_policy(base, dtype=config.policy.dtype)
    return publish(
        with_adapter(policy, rank=config.policy.lora_rank, alpha=config.policy.lora_alpha, seed=config.run.seed), step=0
    )
