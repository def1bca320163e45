"""A run folder made up of known times, as `fundus-ray train` leaves it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from fundus_ray.obs.trace import Span, Trace
from fundus_ray.plan.engine import EngineServer, EngineSpeed

SPEED = EngineSpeed(iteration_s=0.02, sequence_s=0.001, prompt_s=0.05)
STEPS, GROUPS, SIZE = 8, 4, 4
SETTINGS: dict[str, dict[str, object]] = {
    "rollout": {
        "workers": 2,
        "gpus": 1.0,
        "group_size": SIZE,
        "max_tokens": 64,
        "max_model_len": 512,
        "max_seqs": 12,
    },
    "reward": {"workers": 1},
    "learner": {"gpus": 1.0, "a_setting_of_another_version": 1},
    "loop": {"groups_per_step": GROUPS, "async_ratio": 1.0, "window": 3, "checkpoint_every": 0},
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Eight steps."""
    return _write_run(tmp_path, steps=STEPS)


@pytest.fixture
def long_run_dir(tmp_path: Path) -> Path:
    """Seventy steps."""
    return _write_run(tmp_path, steps=70)


def _write_run(folder: Path, *, steps: int) -> Path:
    """Two engines of known speed, of which one rests now and then; steps of 10 s: 2 s of waiting, 4 s of update."""
    chance, trace = random.Random(0), Trace()
    lengths = {g: [chance.randint(5, 60) for _ in range(SIZE)] for g in range(steps * GROUPS)}
    for worker in range(2):
        engine, starts = EngineServer(SPEED, max_seqs=12), {}
        for group in range(worker, steps * GROUPS, 2):
            starts[group] = 100.0 + 10.0 * (group // GROUPS) + 2.0 * chance.random()
        for group, start in sorted(starts.items(), key=lambda item: item[1]):
            engine.arrive(group, lengths[group], at_s=start)
        for group, end in engine.advance(to_s=1e6):
            trace.add(Span("generate", starts[group], end, {"worker": f"rollout-{worker}", "group": group}))
    trace.add(Span("generate", 20.0, 60.0, {"worker": "rollout-0", "group": 3}))  # an evaluation before RL
    trace.add(Span("deliver", 70.0, 99.0, {"step": 0}))  # the first version
    (folder / "rollouts").mkdir()
    for step in range(steps):
        t = 100.0 + 10.0 * step
        trace.add(Span("wait_group", t, t + 2.0, {"step": step}))
        trace.add(Span("update", t + 2.125, t + 6.125, {"step": step}))
        trace.add(Span("publish", t + 6.125, t + 6.25))
        trace.add(Span("deliver", t + 6.25, t + 6.75, {"step": step + 1}))
        for i in range(GROUPS):  # scored one after the other, 0.25 s each, all asked for at once
            ids: dict[str, str | int | float] = {"worker": "reward-0", "group": GROUPS * step + i}
            trace.add(Span("score", t + 1.0, t + 1.25 + 0.25 * i, ids))
        rows = [
            {"group_id": g, "tokens": n, "trainable": g != 5}
            for g in range(GROUPS * step, GROUPS * (step + 1))
            for n in lengths[g]
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rollouts" / f"step-{step + 1:06d}.jsonl").write_text(text)
    trace.write(folder / "trace.json")
    metrics = {"time/step": 6.75, "idle/learner": 0.25, "idle/generator": 0.5, "lag/hist_0": 12.0, "lag/hist_1": 4.0}
    lines = [json.dumps({"step": step + 1, **metrics}) + "\n" for step in range(steps)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    settings = {**SETTINGS, "loop": {**SETTINGS["loop"], "steps": steps}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder
