"""Which runs of an earlier call count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finished_runs import finished_run

from fundus_ray.config import Config, load
from fundus_ray.obs.sinks import RunFolder

DONE: dict[str, Any] = {"steps": 3, "before": None, "after": {"accuracy": 0.5}}


def config_in(folder: Path, *more: str) -> Config:
    return load(None, [f"run.dir={folder}", "run.name=x", "loop.steps=3", *more])


def made(config: Config, summary: dict[str, Any]) -> Path:
    run = RunFolder.create(Path(config.run.dir), name=config.run.name)
    run.write_config(config)
    (run.path / "versions.json").write_text("{}")
    (run.path / "summary.json").write_text(json.dumps(summary))
    run.close()
    return run.path


def test_a_run_of_the_same_settings_is_taken(tmp_path: Path) -> None:
    folder = made(config_in(tmp_path), DONE)
    assert finished_run(config_in(tmp_path), evaluated="after") == folder
    assert finished_run(config_in(tmp_path), evaluated="") == folder
    assert finished_run(config_in(tmp_path), evaluated="before") is None


def test_what_is_taken_is_named_with_its_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(config_in(tmp_path), DONE)
    (folder / "versions.json").write_text(json.dumps({"git": {"commit": "a" * 40, "dirty": True}}))
    finished_run(config_in(tmp_path), evaluated="")
    assert capsys.readouterr().out.endswith(f"made at commit {'a' * 12} with local changes\n")


@pytest.mark.parametrize(
    "changed",
    ["loop.async_ratio=0", "run.seed=1", "learner.correction=icepop", "rollout.cores=0", "run.name=x-again1"],
)
def test_any_setting_that_differs_makes_another_run(tmp_path: Path, changed: str) -> None:
    made(config_in(tmp_path), DONE)
    assert finished_run(config_in(tmp_path, changed), evaluated="after") is None


def test_a_run_that_was_stopped_is_not_taken(tmp_path: Path) -> None:
    made(config_in(tmp_path), {**DONE, "steps": 2})
    assert finished_run(config_in(tmp_path), evaluated="") is None


def test_a_run_without_a_summary_is_not_taken(tmp_path: Path) -> None:
    (made(config_in(tmp_path), DONE) / "summary.json").unlink()
    assert finished_run(config_in(tmp_path), evaluated="") is None
