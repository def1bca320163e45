"""Which weights and which adapter a folder means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.policy.adapter import publish, write_files
from fundus_ray.policy.load import load_policy, with_adapter
from fundus_ray.stored_model import find_model


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """A run folder with two checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    (folder / "facts.json").write_text(json.dumps({"policy": {"base": str(tiny_policy.resolve())}}))
    policy = with_adapter(load_policy(tiny_policy), rank=8, alpha=16, seed=0)
    for step in (10, 20):
        checkpoint = folder / "checkpoints" / f"step-{step:06d}"
        write_files(publish(policy, step=step), checkpoint / "adapter")
        state: dict[str, object] = {"step": step, "next_group_id": 0, "passed_group_ids": []}
        (checkpoint / "state.json").write_text(json.dumps(state))
    return folder


def test_an_adapter_is_the_newest_of_a_run_or_that_of_a_checkpoint_or_a_folder(
    run_dir: Path, tiny_policy: Path
) -> None:
    checkpoints = run_dir / "checkpoints"
    for given, step in (
        (run_dir, "step-000020"),
        (checkpoints / "step-000010", "step-000010"),
        (checkpoints / "step-000010" / "adapter", "step-000010"),
    ):
        model = find_model(tiny_policy, given)
        assert model.base == tiny_policy.resolve()
        assert model.adapter is not None
        assert Path(model.adapter.folder) == (checkpoints / step / "adapter").resolve()
    assert find_model(tiny_policy, None).adapter is None


def test_an_adapter_may_be_named_from_within_the_folder_of_checkpoints(
    run_dir: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_dir / "checkpoints")
    model = find_model(tiny_policy.resolve(), Path("step-000010"))
    assert model.adapter is not None
    assert Path(model.adapter.folder) == (run_dir / "checkpoints" / "step-000010" / "adapter").resolve()


def test_a_model_that_is_none_is_told_what_to_give(run_dir: Path, tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json there; give the folder of a checkpoint"):
        find_model(tmp_path, None)
    with pytest.raises(ConfigError, match=f"is a run folder; give --model {tiny_policy} --adapter {run_dir}"):
        find_model(run_dir, None)


def test_an_adapter_that_is_none_or_anothers_is_told(run_dir: Path, tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run folder"):
        find_model(tiny_policy, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"was trained on {tiny_policy}, not on --model {other}"):
        find_model(other, run_dir)
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(DataError, match="holds no complete checkpoint yet"):
        find_model(tiny_policy, tmp_path)
