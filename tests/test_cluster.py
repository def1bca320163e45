"""What is refused before Ray starts, and what an actor is started with on a real private Ray."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fundus_ray.cluster import check_machine, cluster, spawn
from fundus_ray.config import load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.store import BuiltStore, build_store
from fundus_ray.places import Ask
from fundus_ray.policy.load import gpu_count
from fundus_ray.reward.worker import RewardWorker

import ray  # isort: skip  # after fundus_ray, which settles how loud Ray is


@pytest.mark.skipif(gpu_count() > 0, reason="this machine has a GPU")
@pytest.mark.parametrize("key", ["rollout.gpus", "learner.gpus"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_slow(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}=1 but PyTorch sees no GPU on this machine; set it to 0"):
        check_machine(load(None, [f"{key}=1"]))
    check_machine(load())


def test_a_gpu_that_is_not_there_is_named_with_its_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fundus_ray.cluster.gpu_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"^rollout\.gpus=0\.5 but PyTorch sees no GPU"):
        check_machine(load(None, ["rollout.gpus=0.5", "rollout.gpu_memory_utilization=0.4", "learner.gpus=1"]))


@pytest.mark.parametrize(
    ("said", "expected"), [("Version mismatch: Ray: 2.59.0", ConfigError), ("something else", RuntimeError)]
)
def test_a_cluster_of_another_ray_is_refused_with_a_remedy(
    said: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError(said)  # as Ray's check_version_info does

    monkeypatch.setattr(ray, "init", refuse)
    wanted = "install the same Python and Ray here" if expected is ConfigError else said
    with pytest.raises(expected, match=wanted), cluster(load(None, ["ray.address=auto"]), []):
        pass


@pytest.fixture(scope="module")
def private_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


async def test_actor_gets_its_threads_and_an_environment_without_network(private_ray: None) -> None:
    class Plain:
        """Tells what it was started with."""

        def __init__(self, greeting: str) -> None:
            self._greeting = greeting

        def seen(self) -> tuple[str, dict[str, str]]:
            return self._greeting, dict(os.environ)

    actor = spawn(Ask("reward-0", 0.0, 0.0), Plain, "hello", threads=3)
    greeting, environment = await actor.call("seen", doing="telling", limit_s=60.0)
    assert (actor.name, greeting) == ("reward-0", "hello")
    expected = {
        "OMP_NUM_THREADS": "3",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    assert {name: environment.get(name) for name in expected} == expected


async def test_calls_of_a_worker_with_plain_methods_run_one_after_the_other_in_one_thread(private_ray: None) -> None:
    class Slow:
        """Says in which thread it ran and how many calls were inside with it."""

        def __init__(self) -> None:
            self._inside = 0

        def seen(self) -> tuple[int, int]:
            self._inside += 1
            time.sleep(0.05)
            inside = self._inside
            self._inside -= 1
            return threading.get_ident(), inside

    actor = spawn(Ask("learner", 0.0, 0.0), Slow, threads=1)
    seen = await asyncio.gather(*(actor.call("seen", doing="telling", limit_s=60.0) for _ in range(6)))
    assert len({thread for thread, _ in seen}) == 1
    assert {inside for _, inside in seen} == {1}


async def test_a_reward_actor_opens_the_store_that_was_built_and_names_one_that_was_not(
    private_ray: None, tmp_path: Path
) -> None:
    config = load()
    store = await build_store(config.knowledge, folder=tmp_path)
    good = spawn(Ask("reward-0", 0.0, 0.0), RewardWorker, config, BuiltStore(tmp_path, store.snapshot), threads=1)
    bad = spawn(Ask("reward-1", 0.0, 0.0), RewardWorker, config, BuiltStore(tmp_path, "feedfacefeedface"), threads=1)
    await good.call("start", doing="opening the knowledge store", limit_s=180.0)
    with pytest.raises(DataError, match="feedfacefeedface: no knowledge index here"):
        await bad.call("start", doing="opening the knowledge store", limit_s=180.0)
