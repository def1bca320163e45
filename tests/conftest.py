"""Parts that several test folders share: a tiny policy on disk and samples to show it, and a server to kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Before vLLM or torch is imported anywhere: a quiet CPU engine, and cores left for its process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from search_server import Server

from fundus_ray.config import load
from fundus_ray.data.source import load_data
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Sample


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A search server that a test may kill."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    """Twelve phantoms."""
    config = load(None, ["data.train_samples=12", "data.eval_samples=4"])
    cache_dir = tmp_path_factory.mktemp("phantoms")
    return load_data(config, cache_dir=cache_dir, finding_ids=load_vocabulary().ids).train


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory, samples: tuple[Sample, ...]) -> Path:
    """A randomly initialised tiny Qwen2.5-VL checkpoint, its tokenizer trained on the prompts of the samples."""
    from fundus_ray.policy.tiny import make_tiny_policy
    from fundus_ray.reasoning.prompt import build_prompt

    folder = tmp_path_factory.mktemp("policy") / "tiny"
    texts = [build_prompt(s, group_id=0, seed=0).user for s in samples]
    make_tiny_policy(
        folder,
        texts=texts,
        phrases=samples[0].options,
        image_px=112,
        image_mean=(0.3, 0.2, 0.1),
        image_std=(0.2, 0.15, 0.1),
        seed=0,
    )
    return folder
