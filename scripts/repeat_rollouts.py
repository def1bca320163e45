#!/usr/bin/env python
"""How many rollouts come out otherwise where the same prompts are written again under the same seeds, as a table.

    python scripts/repeat_rollouts.py [--prompts 16] [--out DIR] [--readme] [section.key=value ...]

One policy version, one engine at a time, every rollout under its own seed. The prompts are written one after the other
("alone"), all at once, and all at once in another order while other prompts come and go ("mixed"); each again in the
same engine, in a new engine, and in one without prefix cache. Compared are token ids; and, as far as these are equal,
the log-probabilities that the engine reports.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from readme_section import write_section
from resume_kills import RECIPE, SHORT

from fundus_ray.cluster import WORKER_ENV
from fundus_ray.config import Config, load
from fundus_ray.data.images import read_pixels
from fundus_ray.data.source import load_data
from fundus_ray.first_policy import first_policy
from fundus_ray.knowledge.store import records_of
from fundus_ray.obs.report_table import table
from fundus_ray.policy.adapter import publish
from fundus_ray.policy.load import load_policy, with_adapter
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Prompt, PublishedAdapter, RolloutGroup, Sampling

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/repeat_rollouts.py"
OTHERS = 1_000_000  # group ids of the prompts that come and go
PASSES = ("alone", "alone again", "at once", "at once again", "mixed")
ENGINES = ("one", "new", "uncached")  # the last one without prefix cache
COMPARED = (
    ("alone, again in the same engine", ("one", "alone"), ("one", "alone again")),
    ("alone, in a new engine", ("one", "alone"), ("new", "alone")),
    ("alone, in an engine without prefix cache", ("one", "alone"), ("uncached", "alone")),
    ("all at once, against alone", ("one", "alone"), ("one", "at once")),
    ("all at once, again in the same engine", ("one", "at once"), ("one", "at once again")),
    ("all at once, in a new engine", ("one", "at once"), ("new", "at once")),
    ("mixed, against alone", ("one", "alone"), ("one", "mixed")),
    ("mixed, in a new engine", ("one", "mixed"), ("new", "mixed")),
)
Written = Mapping[str, Sequence[tuple[Sequence[int], Sequence[float]]]]  # pass -> rollouts as (ids, logprobs)


def main() -> None:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16, help="default %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/resume-kills"), help="default %(default)s, for its warm start"
    )
    parser.add_argument("--readme", action="store_true", help="also write the section of README.md")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    args = parser.parse_intermixed_args()
    if args.engine:
        written = asyncio.run(write(config_of(args), prompts=args.prompts, engine=args.engine, dtype=args.dtype))
        (args.out / f"{args.dtype}-{args.engine}.json").write_text(json.dumps(written))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    columns = {}
    for dtype in ("float32", "bfloat16"):
        for engine in ENGINES:
            own = [__file__, *sys.argv[1:], "--engine", engine, "--dtype", dtype]
            env = {**os.environ, **WORKER_ENV, "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, *own], check=True, env=env)
        columns[dtype] = {name: json.loads((args.out / f"{dtype}-{name}.json").read_text()) for name in ENGINES}
    text = report(columns)
    print(f"\n{text}\n")
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)


def config_of(args: argparse.Namespace) -> Config:
    """One engine that holds the version."""
    short = [item for item in SHORT if not item.startswith("run.record")]
    return load(RECIPE, [*short, f"run.dir={args.out}", *args.overrides])


async def write(config: Config, *, prompts: int, engine: str, dtype: str) -> Written:
    """All passes of one engine."""
    from fundus_ray.policy import generate  # vLLM, after its environment is set
    from fundus_ray.policy.engine_args import engine_args

    (model_path, adapter), asked, others = version_and_prompts(config, prompts=prompts, dtype=dtype)
    if engine == "uncached":
        generate.engine_args = partial(engine_args, enable_prefix_caching=False)  # type: ignore[attr-defined]
    config = replace(config, policy=replace(config.policy, dtype=dtype))
    llm = generate.Engine.start(config, model_path=str(model_path), worker=engine)
    rollout = config.rollout
    sampling = Sampling(n=rollout.group_size, temperature=rollout.temperature, max_tokens=rollout.max_tokens)

    async def one(prompt: Prompt, *, after: int = 0) -> RolloutGroup:
        for _ in range(after):
            await asyncio.sleep(0.002)
        pixels = read_pixels(prompt.sample.image)
        return await llm.generate(prompt, pixels=pixels, sampling=sampling, version=adapter.version)

    async def mixed() -> list[RolloutGroup]:
        draw = random.Random(0)
        calls = [(prompt, draw.randrange(40)) for prompt in [*asked, *others]]
        draw.shuffle(calls)
        return await asyncio.gather(*(one(prompt, after=after) for prompt, after in calls))

    try:
        await llm.deliver(adapter)
        await llm.serve(adapter.version)
        written = {name: [await one(prompt) for prompt in asked] for name in PASSES[:2]}
        written |= {name: await asyncio.gather(*map(one, asked)) for name in PASSES[2:4]}
        written["mixed"] = await mixed()
    finally:
        await llm.close()
    return {name: rollouts_of(groups) for name, groups in written.items()}


def version_and_prompts(
    config: Config, *, prompts: int, dtype: str
) -> tuple[tuple[Path, PublishedAdapter], list[Prompt], list[Prompt]]:
    """A short warm start with an adapter that does nothing yet; the prompts that are compared, and as many others."""
    cache_dir, records = Path(config.run.dir).resolve() / "cache", records_of(config.knowledge)
    split = load_data(config, cache_dir=cache_dir, finding_ids=records.vocabulary.ids)
    untimed = lambda name, doing: nullcontext()  # noqa: E731
    made = first_policy(config, split.train, records=records, cache_dir=cache_dir, stage=untimed)
    policy = load_policy(made.model_path, dtype=dtype)
    adapted = with_adapter(policy, rank=config.policy.lora_rank, alpha=config.policy.lora_alpha, seed=0)
    version = publish(adapted, step=0, dtype=policy.network.dtype)
    samples = [split.train[i % len(split.train)] for i in range(2 * prompts)]
    asked = [build_prompt(s, group_id=i, seed=1000 * i) for i, s in enumerate(samples[:prompts])]
    others = [build_prompt(s, group_id=OTHERS + i, seed=1000 * (OTHERS + i)) for i, s in enumerate(samples[prompts:])]
    return (made.model_path, version), asked, others


def rollouts_of(groups: Sequence[RolloutGroup]) -> list[tuple[Sequence[int], Sequence[float]]]:
    """In the order of prompts, without those of the others."""
    own = sorted((g for g in groups if g.prompt.group_id < OTHERS), key=lambda g: g.prompt.group_id)
    return [(rollout.token_ids, rollout.logprobs) for group in own for rollout in group.rollouts]


def report(columns: Mapping[str, Mapping[str, Written]]) -> str:
    """One row a comparison, two columns a precision."""
    rows = []
    for said, (engine, name), (other_engine, other) in COMPARED:
        cells: list[str] = []
        for of in columns.values():
            one, two = of[engine][name], of[other_engine][other]
            cells += [f"{sum(a[0] != b[0] for a, b in zip(one, two, strict=True))} of {len(one)}", gap(one, two)]
        rows.append((said, *cells))
    header = ["the same prompts and seeds"]
    for dtype in columns:
        header += [f"{dtype}: rollouts that differ", "largest gap of logprobs"]
    tokens = sum(len(ids) for ids, _ in columns["float32"]["one"]["alone"])
    return f"{table(header, rows)}\n\n{tokens} tokens in float32; vLLM on a CPU, one thread."


def gap(one: Sequence[Any], other: Sequence[Any]) -> str:
    """As far as the token ids are equal [nats]."""
    worst = 0.0
    for (ids, logprobs), (other_ids, other_logprobs) in zip(one, other, strict=True):
        for a, b, x, y in zip(ids, other_ids, logprobs, other_logprobs, strict=False):
            if a != b:
                break
            worst = max(worst, abs(x - y))
    return f"{worst:.1g}"


if __name__ == "__main__":
    main()
