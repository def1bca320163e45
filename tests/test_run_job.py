"""What a checkpoint holds of the prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from plain_sample import SAMPLE

from fundus_ray.config import load
from fundus_ray.loop import Position
from fundus_ray.obs.trace import Trace
from fundus_ray.run_job import SEEDS_A_RUN, Job


def job() -> Job:
    def sample_at(group_id: int) -> Any:
        return replace(SAMPLE, id=f"s{group_id % 5}")

    nothing = cast(Any, None)
    config = load(None, ["run.seed=3", "rollout.group_size=4"])
    return Job(config, nothing, nothing, Trace(), Path(), None, sample_at, {"knowledge": "abc"})


def test_a_prompt_has_the_sample_and_seeds_of_its_position() -> None:
    prompt = job().prompt_at(7)
    assert (prompt.group_id, prompt.sample.id, prompt.seed) == (7, "s2", 3 * SEEDS_A_RUN + 28)


def test_a_checkpoint_names_the_groups_under_way_and_the_samples_that_come_next() -> None:
    run = job()
    for group_id in range(10):
        run.prompt_at(group_id)
    record = run.record_at(Position(step=2, group_id=5, passed=(7, 8)))
    assert record["knowledge"] == "abc"
    assert record["under_way"] == {"5": "s0", "6": "s1", "9": "s4"}
    assert list(record["next_samples"])[:5] == ["5", "6", "7", "8", "9"]
    assert record["next_samples"]["36"] == "s1"
    assert len(record["next_samples"]) == 32
