"""Runs of the published sizes without their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from doctor_case import checkpoint
from qwen_configs import QWEN_3B, QWEN_7B

from fundus_ray.config import Config, load


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that recipes run in, with both checkpoints where they look for them."""
    checkpoint(tmp_path / "models" / "Qwen2.5-VL-3B-Instruct", QWEN_3B)
    checkpoint(tmp_path / "models" / "Qwen2.5-VL-7B-Instruct", QWEN_7B)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def on_gpus(published: Path) -> Callable[..., Config]:
    """`on_gpus("rollout.workers=2", ...)`: a run of the 3B checkpoint on GPUs, on rendered images."""

    def make(*settings: str) -> Config:
        path = "policy.path=models/Qwen2.5-VL-3B-Instruct"
        gpus = ["policy.dtype=bfloat16", "sft.steps=0", "rollout.gpus=1", "learner.gpus=1"]
        return load(None, [path, *gpus, *settings])

    return make
