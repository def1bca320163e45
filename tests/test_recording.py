"""Whether a recorded run can be replayed under these settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_ray.config import load, to_yaml
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.recorded import write_recorded
from fundus_ray.policy.weights_hash import weights_sha256
from fundus_ray.recording import Recording, as_replayed, check_replay_effect, recorded_from
from fundus_ray.types import ScoredGroup

MakeGroup = Callable[..., ScoredGroup]
RECORDED = ("loop.steps=2", "loop.async_ratio=1.5", "loop.window=4", "run.record=true", "learner.learning_rate=0.01")


@pytest.fixture
def run_dir(tmp_path: Path, make_group: MakeGroup) -> Path:
    """A run that recorded two updates."""
    base, folder = tmp_path / "base", tmp_path / "run"
    for made in (base, folder):
        made.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    (folder / "config.yaml").write_text(to_yaml(load(None, RECORDED)))
    (folder / "facts.json").write_text(json.dumps({"recorded": recorded_from(base, sha256=weights_sha256(base))}))
    for step in (1, 2):
        write_recorded(folder, step, [make_group([1.0, 0.0], group_id=step)])
    return folder


def test_a_recording_knows_its_base_weights_and_how_far_it_goes(run_dir: Path, tmp_path: Path) -> None:
    recording = Recording.open(run_dir)
    assert (recording.base, recording.steps) == (tmp_path / "base", 2)
    assert recording.config == load(None, RECORDED)
    moved = run_dir.rename(tmp_path / "elsewhere")
    assert Recording.open(moved).sha256 == recording.sha256


def test_other_base_weights_are_refused(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weightS")
    with pytest.raises(DataError, match=r"recorded from base weights of sha256 \w{12}, but .*base holds \w{12} now"):
        Recording.open(run_dir)
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(DataError, match=r"base weights that are not there any more: .*base"):
        Recording.open(run_dir)
    (run_dir / "facts.json").write_text("{}")
    with pytest.raises(DataError, match="does not say which base weights"):
        Recording.open(run_dir)


def test_settings_of_the_learner_may_change_and_nothing_may_pass(run_dir: Path) -> None:
    overrides = ["learner.learning_rate=0.5", "learner.algorithm=rloo", "policy.lora_rank=4", "loop.steps=1"]
    config = as_replayed(load(run_dir / "config.yaml", overrides), Recording.open(run_dir))
    assert (config.learner.learning_rate, config.policy.lora_rank, config.loop.steps) == (0.5, 4, 1)
    assert (config.loop.window, config.run.record) == (0, False)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("run.seed=3", "recorded with run.seed=0, not 3; leave it as it was"),
        ("data.order=balanced", "recorded with data.order=shuffled, not balanced"),
        ("sft.steps=7", "recorded with sft.steps=250, not 7"),
        ("rollout.temperature=0.5", "recorded with rollout.temperature=1.0, not 0.5"),
        ("loop.steps=3", "it holds 2 updates, but loop.steps=3; set loop.steps=2 or lower"),
        ("loop.async_ratio=1", "may lag 2 versions, but loop.async_ratio=1 allows 1; set loop.async_ratio=2"),
    ],
)
def test_what_contradicts_the_recording_is_refused_with_the_difference(run_dir: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        as_replayed(load(run_dir / "config.yaml", [override]), Recording.open(run_dir))


@pytest.mark.parametrize(
    "key",
    ["reward.workers", "rollout.workers", "evaluate.samples", "loop.window", "run.record", "data.max_quarantined"],
)
def test_settings_of_what_a_replay_does_not_do_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} has no effect with --replay"):
        check_replay_effect(["learner.learning_rate", key])


def test_settings_that_the_learner_reads_are_taken() -> None:
    check_replay_effect(["learner.learning_rate", "loop.steps", "rollout.max_tokens", "run.dir", "ray.cores"])
