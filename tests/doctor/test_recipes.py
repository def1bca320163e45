"""The recipes for real checkpoints: what their comments say of memory is what the doctor reckons, and they fit the
machines that they are for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from doctor_case import GIB, GPU_BYTES, case_of, machine, node

from fundus_ray.config import Config, DataConfig, load
from fundus_ray.doctor import estimate
from fundus_ray.doctor.findings import Verdict, table
from fundus_ray.doctor.needs import needs_of
from fundus_ray.doctor.room_checks import (
    adapters,
    engine_memory,
    learner_memory,
    main_memory,
    placement,
    tensor_parallel,
)

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("qwen*.yaml"))
MACHINES = {"1x80": (1, 1, 16, 128), "8x80": (1, 8, 64, 512), "4x8x80": (4, 8, 64, 512)}  # how many, GPUs, CPUs, GiB
AMOUNT = re.compile(r"([a-zA-Z][a-zA-Z', ]*?) (\d+\.\d)\b")


def recipe_of(path: Path) -> Config:
    """The recipe on rendered images, since its store is the user's."""
    return replace(load(path), data=DataConfig())


def test_there_is_one_for_each_size_and_place() -> None:
    assert [path.stem for path in RECIPES] == sorted(
        f"qwen{size}_{place}" for size in ("3b", "7b") for place in MACHINES
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_comment_holds_the_estimate(path: Path, published: Path) -> None:
    config = recipe_of(path)
    needs = needs_of(config, snapshot="")
    engine = estimate.engine(needs.shape, config, max_pixels=needs.pixels[1])
    learner = estimate.learner(needs.shape, config)
    left = config.rollout.gpu_memory_utilization * GPU_BYTES - engine.total
    print(f"\n{path.stem}: engine {engine.total / GIB:.1f} GiB, learner {learner.total / GIB:.1f} GiB")
    expected = [("engine", engine.total), *((line.what, line.bytes) for line in engine.lines), ("leaves", int(left))]
    expected += [("learner", learner.total), *((line.what, line.bytes) for line in learner.lines)]
    comment = " ".join(line.strip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
    said = [(name.split("that ")[-1].strip(), float(amount)) for name, amount in AMOUNT.findall(comment)]
    found = [(name, amount) for name, amount in said if name in dict(expected)]
    assert found == [(name, round(amount / GIB, 1)) for name, amount in expected]
    sequences = int(left // estimate.kv_token_bytes(needs.shape, config)) // config.rollout.max_model_len
    assert f"for {sequences} sequences of {config.rollout.max_model_len} tokens" in comment
    assert f"in passes of {estimate.pass_tokens(config)} tokens" in comment


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_fits_the_machines_that_it_is_for(path: Path, published: Path) -> None:
    config = recipe_of(path)
    count, gpus, cpus, memory = MACHINES[path.stem.partition("_")[2]]
    room = {"total": memory * GIB, "free": int(0.95 * memory * GIB)}
    nodes = [node(f"10.0.0.{i}", CPU=float(cpus), GPU=float(gpus)) for i in range(count)]
    case = case_of(config, [machine(config, place, memory=room) for place in nodes])
    checks = (placement, tensor_parallel, adapters, engine_memory, learner_memory, main_memory)
    findings = [finding for check in checks for finding in check(case)]
    print(f"\n{path.stem}\n{table(findings)}")
    assert {one.check for one in findings} == {"placement", "adapters", "engine", "learner", "memory"}
    assert [one for one in findings if one.verdict is not Verdict.OK] == []
    placed = [name for names in case.placed().values() for name in names]
    assert len(placed) == config.rollout.workers + config.learner.ranks + config.reward.workers


def test_a_smaller_gpu_is_refused_with_the_numbers(published: Path) -> None:
    (path,) = (path for path in RECIPES if path.stem == "qwen7b_8x80")
    config = recipe_of(path)
    small = {"name": "small", "total": 16 * GIB, "used": 0}
    case = case_of(config, [machine(config, node(CPU=64.0, GPU=8.0), gpus=[small] * 8)])
    engine, learner = (*engine_memory(case), *learner_memory(case))
    assert (engine.verdict, learner.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "19.2 GiB beside the KV cache, of 0.85 x 16.0 GiB" in engine.found
    assert "30.1 GiB of 16.0 GiB" in learner.found
