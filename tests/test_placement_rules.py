"""What an actor may ask of the cluster, and what is refused before it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.config import load
from fundus_ray.config.idle import check_effect
from fundus_ray.errors import ConfigError

SHARED = ["ray.colocate=true", "rollout.gpus=0.5", "learner.gpus=0.5", "loop.async_ratio=0"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["rollout.min_workers=2"], "rollout.min_workers=2 must be <= rollout.workers=1, or 0 for all of them"),
        (["reward.workers=2", "reward.min_workers=3"], "reward.min_workers=3 must be <= reward.workers=2"),
        (["rollout.tensor_parallel=2"], "rollout.tensor_parallel=2 with rollout.gpus=0: an engine on a CPU is not"),
        (["rollout.tensor_parallel=2", "rollout.gpus=1"], "rollout.gpus=1 must be rollout.tensor_parallel=2"),
        (["rollout.gpus=2"], "rollout.gpus=2 must be rollout.tensor_parallel=1"),
        (["rollout.gpus=1.5"], "rollout.gpus=1.5 must be rollout.tensor_parallel=1"),
        (["learner.gpus=1.5"], "learner.gpus=1.5 must be <= 1 or a whole number"),
        (
            ["rollout.gpus=0.5"],
            "rollout.gpu_memory_utilization=0.85 must be <= rollout.gpus=0.5: of a GPU that several actors share, an "
            "engine may not take more than its part; set it to 0.5 or less",
        ),
        (["ray.colocate=true"], "ray.colocate=true needs a GPU, but rollout.gpus=0 and learner.gpus=0: vLLM can put"),
        ([*SHARED, "learner.gpus=1"], "rollout.gpus=0.5 + learner.gpus=1 is more than 1; set both to 0.5"),
        ([*SHARED, "rollout.workers=2"], "for one engine and one learner, but rollout.workers=2; set it to 1"),
        ([*SHARED, "learner.ranks=2"], "learner.ranks=2"),
        ([*SHARED, "loop.async_ratio=1"], "loop.async_ratio=1 must be 0 with ray.colocate=true: the engine sleeps"),
    ],
)
def test_what_cannot_be_placed_or_used_is_refused_with_a_remedy(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, settings)
    assert said in str(caught.value)


def test_a_judge_keeps_to_its_part_of_a_shared_gpu_as_well(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    judge = ["reward.checker=judge", f"reward.checker_model={tmp_path}", "reward.gpus=0.25"]
    with pytest.raises(ConfigError, match=r"rollout.gpu_memory_utilization=0.3 must be <= reward.gpus=0.25"):
        load(None, [*judge, "rollout.gpu_memory_utilization=0.3"])
    load(None, [*judge, "rollout.gpu_memory_utilization=0.25"])


@pytest.mark.parametrize(
    "settings",
    [
        SHARED,  # with the whole of vLLM's share: they take turns
        ["rollout.tensor_parallel=4", "rollout.gpus=4"],
        ["rollout.gpus=0.5", "rollout.gpu_memory_utilization=0.5"],
        ["rollout.workers=3", "rollout.min_workers=3", "reward.workers=2", "reward.min_workers=1"],
        ["learner.gpus=1"],
    ],
)
def test_what_can_be_placed_is_taken(settings: list[str]) -> None:
    load(None, settings)


def test_a_cluster_of_one_machine_adds_none() -> None:
    with pytest.raises(ConfigError, match=r"ray.autoscale has no effect with ray.address=local"):
        check_effect(load(None, ["ray.autoscale=true"]), ["ray.autoscale"])
    check_effect(load(None, ["ray.autoscale=true", "ray.address=10.0.0.1:6379"]), ["ray.autoscale"])
