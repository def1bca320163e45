"""A small whole run of two engines, and how a test kills a part of it: shared by test_pipeline*.py."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil

from fundus_ray.config import Config, load

SMALL = [
    "data.train_samples=24",
    "data.eval_samples=6",
    "data.option_order=sorted",
    "sft.steps=2",
    "sft.vision_warmup_steps=1",
    "sft.batch_size=4",
    "rollout.workers=2",
    "rollout.cpus=0.5",
    "rollout.group_size=4",
    "rollout.max_tokens=12",
    "reward.workers=2",
    "loop.steps=2",
    "loop.groups_per_step=3",
]


def config_in(folder: Path, *overrides: str) -> Config:
    return load(None, [*SMALL, f"run.dir={folder}", *overrides])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for_an_update(latest: Path, *, before: Path) -> None:
    """Until the run that `latest` will point to, other than `before`, has logged a step."""
    deadline = time.monotonic() + 480
    while time.monotonic() < deadline:
        metrics = latest.resolve() / "metrics.jsonl"
        if latest.resolve() != before and metrics.is_file() and metrics.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"no update within 480 s: {latest.resolve()}")


def kill_during_rl(latest: Path, family: list[psutil.Process], *, title: str = "VLLM::EngineCore") -> None:
    """SIGKILL one process of this title after the first update, from outside, as an operating system would; its
    children are added to `family`."""
    wait_for_an_update(latest, before=latest.resolve())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in psutil.Process(os.getpid()).children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith(title):
                    family += process.children(recursive=True)
                    process.send_signal(signal.SIGKILL)
                    return
            except psutil.Error:
                continue
