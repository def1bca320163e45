from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fundus_ray.config import Config, load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.sinks import RunFolder, checkpoint_name
from fundus_ray.obs.strict_json import read_json, read_lines
from fundus_ray.types import ScoredGroup

NOON = datetime(2031, 2, 3, 12, 4, 5)


@dataclass(frozen=True)
class Row:
    sample: str


@dataclass(frozen=True)
class Result:
    rows: Sequence[Row]

    def summary(self) -> dict[str, Any]:
        return {"n": len(self.rows), "finding_f1": math.nan}


def scalars(run: Path, name: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(run / "tensorboard"))
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def test_runs_of_one_second_get_folders_of_their_own_and_latest_follows(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path / "runs", name="quick", now=NOON)
    second = RunFolder.create(tmp_path / "runs", name="quick", now=NOON)
    assert [first.path.name, second.path.name] == ["quick-20310203-120405", "quick-20310203-120405-2"]
    latest = tmp_path / "runs" / "latest"
    assert os.readlink(latest) == "quick-20310203-120405-2"
    first.close()
    second.close()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.dir=.*file, run\.name=x: no run folder"):
        RunFolder.create(tmp_path / "file", name="x")


def test_a_folder_named_latest_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "keep").write_text("")
    with pytest.raises(ConfigError, match="latest"):
        RunFolder.create(tmp_path, name="x")
    assert (tmp_path / "latest" / "keep").exists()


def test_the_config_comes_back_as_it_was(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, name="x")
    config = Config()
    config.loop.steps = 7
    run.write_config(config)
    assert load(run.path / "config.yaml") == config
    run.close()


def test_a_step_reaches_metrics_and_tensorboard_before_the_run_is_closed(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, name="x")
    run.log_step(1, {"reward/total": 0.5, "loss": math.nan})
    (line,) = read_lines(run.path / "metrics.jsonl")
    assert line["step"] == 1
    assert line["reward/total"] == 0.5
    assert line["loss"] is None
    assert line["non_finite"] == {"loss": "nan"}
    assert scalars(run.path, "reward/total") == [(1, 0.5)]
    run.close()


def test_a_scored_rollout_is_written_with_all_that_its_score_rests_on(
    tmp_path: Path, make_group: Callable[..., ScoredGroup]
) -> None:
    run = RunFolder.create(tmp_path, name="x")
    groups = [make_group([0.25, 0.75], group_id=4, step=2), make_group([None], group_id=5)]
    run.log_scored(3, groups, image_paths=True)
    run.close()
    lines = list(read_lines(run.path / "rollouts" / "step-000003.jsonl"))
    assert [(r["group_id"], r["seed"], r["total"], r["status"]) for r in lines] == [
        (4, 400, 0.25, "scored"),
        (4, 401, 0.75, "scored"),
        (5, 500, 0.0, "unscorable"),
    ]
    assert [(r["trainable"], r["drop_reason"]) for r in lines] == [(True, ""), (True, ""), (False, "unscorable")]
    first = lines[0]
    assert first["sample"] == "phantom-4"
    assert first["image_sha256"] == "ab" * 32
    assert first["gold_answer"] == ["glaucoma"]
    assert first["gold_findings"] == ["cup_enlarged"]
    assert first["parts"] == {"accuracy": 1.0, "format": 1.0, "grounding": None}
    assert first["policy"] == {"step": 2, "sha256": "cd" * 32}
    assert first["behaviour_logprob_mean"] == -0.375
    assert first["generate_s"] == 2.5
    assert first["evidence"][0]["excerpt"] == "An enlarged cup\nis typical."
    assert first["evidence"][0]["id"] == "glaucoma-1"
    assert (first["id"], lines[1]["id"]) == ("4.0", "4.1")
    assert (first["claims"], first["recited"], first["outage"], first["held_s"]) == ([], None, "", 0.0)
    assert (first["task"], first["split"], first["patient_id"], first["image_px"]) == (
        "diagnosis",
        "train",
        "p4",
        [112, 112],
    )
    assert first["snapshot"] == "index-1"
    assert first["worker"] == "rollout-0"


def test_an_evaluation_is_written_with_its_rows(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, name="x")
    run.log_evaluation("before", Result([Row("a"), Row("b")]))
    run.close()
    result = read_json(run.path / "evaluation-before.json")
    assert (result["n"], result["finding_f1"]) == (2, None)
    assert list(read_lines(run.path / "evaluation-before-rows.jsonl")) == [{"sample": "a"}, {"sample": "b"}]


def test_stage_times_add_up_also_where_a_stage_fails(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, name="x")
    with run.time_stage("data"):
        pass
    first = read_json(run.path / "stages.json")["data"]
    with pytest.raises(KeyboardInterrupt), run.time_stage("data"):
        raise KeyboardInterrupt
    assert read_json(run.path / "stages.json")["data"] > first > 0
    run.close()


def test_resuming_drops_what_lies_after_the_checkpoint(tmp_path: Path, make_group: Callable[..., ScoredGroup]) -> None:
    run = RunFolder.create(tmp_path, name="x", now=NOON)
    run.log_evaluation("before", Result([Row("a")]))
    for step in (1, 2, 3):
        run.log_step(step, {"reward/total": step / 10, "loss": math.nan})
        run.log_scored(step, [make_group([0.5])])
    run.log_evaluation("after", Result([Row("a")]))
    run.log_evaluation(checkpoint_name(1), Result([Row("a")]))
    run.log_alarm(2, kind="outage", text="down")
    run.log_alarm(3, kind="no signal", text="none")
    run.write_facts("rl", {"adapter_publishes": 4})
    run.write_facts("photo", {"text": "old"})
    with run.time_stage("rl"):
        pass
    spent = read_json(run.path / "stages.json")["rl"]
    run.close()
    RunFolder.create(tmp_path, name="other").close()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')

    again = RunFolder.open(run.path)
    assert len((run.path / "metrics.jsonl").read_text().splitlines()) == 3  # opening loses what is torn, nothing else
    again.cut_back(2)
    again.log_step(3, {"reward/total": 0.9})
    with again.time_stage("rl"):
        pass
    again.close()

    lines = list(read_lines(run.path / "metrics.jsonl"))
    assert [(line["step"], line["reward/total"]) for line in lines] == [(1, 0.1), (2, 0.2), (3, 0.9)]
    assert lines[0]["non_finite"] == {"loss": "nan"}
    assert [line["kind"] for line in read_lines(run.path / "alarms.jsonl")] == ["outage"]
    assert sorted(p.name for p in (run.path / "rollouts").iterdir()) == ["step-000001.jsonl", "step-000002.jsonl"]
    assert [p.name for p in sorted(run.path.glob("evaluation-*.json"))] == ["evaluation-before.json"]
    assert dict(again.facts) == {"rl": {"adapter_publishes": 4}}
    assert read_json(run.path / "stages.json")["rl"] > spent
    assert os.readlink(tmp_path / "latest") == run.path.name
    values = scalars(run.path, "reward/total")
    assert [step for step, _ in values] == [1, 2, 3]
    assert values[-1][1] == pytest.approx(0.9)


def test_a_folder_can_be_resumed_through_the_link_latest(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, name="x", now=NOON)
    run.close()
    again = RunFolder.open(tmp_path / "latest")
    again.cut_back(0)
    again.close()
    assert again.path == run.path.resolve()
    assert os.readlink(tmp_path / "latest") == run.path.name


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a run folder"):
        RunFolder.open(tmp_path)


def test_observing_needs_neither_torch_nor_tensorflow_nor_ray() -> None:
    code = (
        "import sys, json; import fundus_ray.obs.sinks, fundus_ray.obs.report, fundus_ray.obs.step_times; "
        "print(json.dumps([m for m in ('torch', 'tensorflow', 'ray', 'vllm', 'transformers') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
