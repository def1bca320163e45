#!/usr/bin/env python
"""From the learner's publish to the moment when new prompts are written under the version, in every engine.

    python scripts/publish_latency.py [--adapters tiny 77 308] [--engines 1 2] [--publishes 5] [--readme]

The learner, Ray's object store, real vLLM engines and the proof of delivery are those of a run; requests are being
written all the while (WRITERS an engine), and it is measured how long each waits for its next token, its first one
included, and how many tokens a second are written during deliveries and just before them.

Adapters of 77 and 308 MiB are those of Qwen2.5-VL-7B at ranks 16 and 64 in bfloat16. Here a made-up network carries
them: 28 layers like the 7B, every width an eighth of its own (hidden 448, MLP 2,368, 64 keys and values), and ranks of
64 and 256 in float32: the same number of tensors (392) and the same bytes, on 0.1 B weights instead of 7 B.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from publish_actors import Interval, Request, TimedLearner, TimedRollout
from publish_report import Delivery, Row, report
from readme_section import write_section
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from fundus_ray.actors import Actor, RolloutActor
from fundus_ray.cluster import spawn
from fundus_ray.config import Config, load
from fundus_ray.crew import Care
from fundus_ray.data.source import load_data
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.errors import FundusRayError
from fundus_ray.knowledge.records import load_records
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.loop import Published
from fundus_ray.obs.trace import Trace
from fundus_ray.places import Ask
from fundus_ray.policy.load import load_processor
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.runtime import CLOSE_S
from fundus_ray.sft.tiny_base import make_base
from fundus_ray.types import Prompt, Sample, Sampling

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts/publish_latency.py"
WRITERS = 4  # requests that an engine writes at once
SEATS = 2 * WRITERS  # that it could: the ones asked after a delivery find room
QUIET_S = 3.0  # watched without a delivery at least, and after one
LIMIT_S = 600.0  # longest start of an engine, and longest call
EIGHTH_OF_7B = {
    "hidden_size": 448,
    "intermediate_size": 2368,
    "num_hidden_layers": 28,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """One size. `wide`: on the made-up network, else on the tiny policy."""

    name: str
    rank: int
    wide: bool


ADAPTERS = {
    "tiny": Adapter("tiny policy, rank 8", rank=8, wide=False),
    "77": Adapter("as 7B, rank 16", rank=64, wide=True),
    "308": Adapter("as 7B, rank 64", rank=256, wide=True),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", nargs="+", choices=list(ADAPTERS), default=list(ADAPTERS))
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--publishes", type=int, default=5, help="deliveries of each row, a first one left out")
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md")
    args = parser.parse_args()
    if min([*args.engines, args.publishes]) < 1:
        parser.error("--engines and --publishes must be >= 1")
    load_before, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory(prefix="publish-latency-") as scratch:
        samples = some_samples(Path(scratch))
        folders = {wide: checkpoint(Path(scratch), samples, wide=wide) for wide in (False, True)}
        for name in args.adapters:
            for engines in args.engines:
                adapter = ADAPTERS[name]
                print(f"== {adapter.name}, {engines} engines", flush=True)
                config = settings(adapter, folder=folders[adapter.wide], engines=engines)
                try:
                    row = asyncio.run(
                        measured(config, adapter, samples[0], publishes=args.publishes, logs=Path(scratch))
                    )
                except FundusRayError as err:
                    raise SystemExit(str(err)) from None
                print(report([row]), flush=True)
                rows.append(row)
    text = (
        f"{report(rows)}\n\nMilliseconds of {args.publishes} deliveries: medians of the parts, the longest gaps and "
        "the longest stall of all. Tokens/s: of all deliveries, and of as long just before each. "
        f"{WRITERS} of the {SEATS} seats of each engine were taken. "
        f"Load of the machine at the start {load_before:.1f}, {os.cpu_count()} cores."
    )
    print("\n" + text)
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)
        print("written to README.md")


def settings(adapter: Adapter, *, folder: Path, engines: int) -> Config:
    """As a run's, but for what is not used here."""
    return load(
        None,
        [
            f"policy.path={folder}",
            f"policy.lora_rank={adapter.rank}",
            f"policy.lora_alpha={adapter.rank}",
            "policy.probe_tolerance=0.01",  # 28 layers of random weights in float32
            "sft.steps=0",
            f"rollout.workers={engines}",
            "rollout.max_tokens=1024",
            "rollout.max_model_len=1280",
            f"rollout.max_seqs={SEATS}",
        ],
    )


def some_samples(folder: Path) -> Sequence[Sample]:
    """A few phantoms."""
    config = load(None, ["data.train_samples=8", "data.eval_samples=2"])
    return load_data(config, cache_dir=folder / "cache", finding_ids=load_records().vocabulary.ids).train


def checkpoint(folder: Path, samples: Sequence[Sample], *, wide: bool) -> Path:
    """The tiny policy, untrained; or with its tokenizer and processor a network of an eighth of the 7B's widths."""
    tiny = folder / "tiny"
    if not tiny.is_dir():
        make_base(load(None, []), samples, records=load_records(), folder=tiny)
    if not wide:
        return tiny
    shape = Qwen2_5_VLConfig.from_pretrained(tiny).to_dict()
    shape["text_config"] = {**shape["text_config"], **EIGHTH_OF_7B, "initializer_range": 0.02}
    del shape["text_config"]["layer_types"]  # one entry a layer, made anew
    shape["vision_config"]["out_hidden_size"] = EIGHTH_OF_7B["hidden_size"]
    target = folder / "wide"
    shutil.copytree(tiny, target, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_dict(shape)).save_pretrained(target)
    load_processor(target)  # what was copied is whole
    return target


async def measured(config: Config, adapter: Adapter, sample: Sample, *, publishes: int, logs: Path) -> Row:
    """A row of the table."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        async with asyncio.timeout(LIMIT_S * (publishes + 2)):
            system = System(config, logs=logs)
            await system.start()
            try:
                prompt = build_prompt(sample, group_id=0, seed=0)
                every = [await system.delivery(prompt) for _ in range(publishes + 1)]
                return Row(adapter.name, system.mib, config.rollout.workers, every[1:])
            finally:
                await system.pool.close(limit_s=CLOSE_S)
    finally:
        ray.shutdown()


class System:
    """Engines, pool and learner, wired as runtime.py does it."""

    def __init__(self, config: Config, *, logs: Path) -> None:
        self._config = config
        self._logs = logs
        self._engines: dict[str, Actor] = {}
        model = config.policy.path
        engines = [
            RolloutActor(
                partial(self._engine, f"rollout-{i}", model),
                start_limit_s=LIMIT_S,
                limit_s=LIMIT_S,
                group_limit_s=LIMIT_S,
            )
            for i in range(config.rollout.workers)
        ]
        log = logs / "learner.log"
        self._learner = spawn(Ask("learner", 1, 0), TimedLearner, config, model, str(log), threads=1, log_path=log)
        self._owner = LearnerRanks(lambda: [self._learner], limit_s=LIMIT_S)
        self.pool = RolloutPool(
            engines,
            sampling=Sampling(n=1, temperature=1.0, max_tokens=1),
            probe_tolerance=config.probe_tolerance,
            care=Care(role="engine", setting="rollout.restarts", restarts=0),
            trace=Trace(),
        )
        self._starts = engines
        self._quiet_s = QUIET_S
        self.mib = 0.0

    async def start(self) -> None:
        """Load, and make version 0 live."""
        await asyncio.gather(*(engine.start() for engine in self._starts))
        published = await self._owner.publish()
        self.mib = sum(map(len, ray.get(published.payload).files.values())) / 2**20
        await self.pool.set_policy(published)

    async def delivery(self, prompt: Prompt) -> Delivery:
        """The next version, while requests are written."""
        await self._ask(self._learner, "advance")
        actors = list(self._engines.values())
        firsts = [(i + 1) / WRITERS for i in range(WRITERS)]
        tasks = [[asyncio.create_task(self._ask(a, "write", prompt, first)) for first in firsts] for a in actors]
        for actor in actors:
            while await self._ask(actor, "writing") < WRITERS:
                await asyncio.sleep(0.05)
        began = time.time()
        await asyncio.sleep(self._quiet_s)
        asked = time.time()
        published = await self._owner.publish()
        await self.pool.set_policy(published)
        live = time.time()
        self._quiet_s = max(QUIET_S, live - asked)  # so that the next one has as long a time just before it
        await self._check_new_prompts(published, prompt)
        await asyncio.sleep(QUIET_S)
        for actor in actors:
            await self._ask(actor, "stop_writing")
        written: list[list[Request]] = [
            [request for found in await asyncio.gather(*own) for request in found] for own in tasks
        ]
        learner: Interval = await self._ask(self._learner, "published")
        return Delivery(
            asked=(asked, live),
            published=learner,
            engines=[await self._ask(actor, "parts") for actor in actors],
            quiet=(began, asked),
            requests=[[request.token_s for request in own] for own in written],
            aborted=sum(r.finish_reason not in ("", "length") for own in written for r in own),
        )

    async def _check_new_prompts(self, published: Published, prompt: Prompt) -> None:
        """Raises ValueError where an engine still writes under an older version."""
        for name, actor in self._engines.items():
            request: Request = await self._ask(actor, "first_token", prompt)
            if request.step != published.version.step:
                raise ValueError(f"{name} writes under version {request.step}, live is {published.version.step}")

    def _engine(self, name: str, model: str) -> Actor:
        log = self._logs / f"{name}.log"
        args = (self._config, model, name, str(log))
        self._engines[name] = spawn(Ask(name, 1, 0), TimedRollout, *args, threads=1, log_path=log)
        return self._engines[name]

    async def _ask(self, actor: Actor, method: str, *args: object) -> Any:
        return await actor.call(method, *args, doing=method, limit_s=LIMIT_S)


if __name__ == "__main__":
    main()
