"""The whole job on real parts, whose processes are killed from outside, as an operating system would."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest
from small_run import config_in, kill_during_rl, lines

from fundus_ray.errors import WorkerDiedError
from fundus_ray.pipeline import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, so that they share the warm start."""
    return tmp_path_factory.mktemp("runs")


def test_the_death_of_vllms_own_process_ends_the_run_with_an_error_that_names_it_and_says_where_to_go_on(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killer = threading.Thread(target=kill_during_rl, args=(runs / "latest", []), daemon=True)
    killer.start()
    settings = ["loop.steps=200", "loop.checkpoint_every=1", "evaluate.samples=0", "rollout.restarts=0"]
    settings += ["rollout.workers=1", "reward.workers=1"]
    with pytest.raises(WorkerDiedError, match=r"rollout-\d died while .*: vLLM's engine process died: .*\n.* ends: "):
        run(config_in(runs, "run.name=killed", *settings))
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert f"go on with: fundus-ray train --resume {(runs / 'latest').resolve()}" in capsys.readouterr().out


def test_a_killed_engine_comes_back_and_writes_on_and_no_process_of_the_dead_one_stays_behind(runs: Path) -> None:
    family: list[psutil.Process] = []
    kill = partial(kill_during_rl, runs / "latest", family, title="ray::RolloutWorker")
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    only_one = ["rollout.workers=1", "loop.steps=20", "loop.checkpoint_every=0"]  # nobody else can finish the run
    folder = run(config_in(runs, "run.name=returns", *only_one, "evaluate.samples=0", "evaluate.photo=false"))
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert json.loads((folder / "summary.json").read_text())["steps"] == 20
    rollouts = [r for path in sorted((folder / "rollouts").iterdir()) for r in lines(path)]
    groups = [r["group_id"] for r in rollouts]
    assert {groups.count(group_id) for group_id in groups} == {4}  # each group once, with its four rollouts
    spans = json.loads((folder / "trace.json").read_text())["traceEvents"]
    (restart,) = [s for s in spans if s["name"] == "restart"]
    back = restart["ts"] + restart["dur"]
    starts = [s["ts"] for s in spans if s["name"] == "generate"]
    assert min(starts) < restart["ts"]
    assert not any(restart["ts"] < at < back for at in starts)
    versions_before = [s["args"]["step"] for s in spans if s["name"] == "deliver" and s["ts"] < back]
    assert {r["policy"]["step"] for r in rollouts} >= set(range(max(versions_before), 19))  # the newest, then all later
    assert family
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []  # vLLM's own process too


def test_a_killed_learner_comes_back_from_its_checkpoint_and_each_group_is_trained_once(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = partial(kill_during_rl, runs / "latest", [], title="ray::LearnerRank")
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    settings = ["rollout.workers=1", "loop.steps=12", "loop.checkpoint_every=5", "run.keep_checkpoints=2"]
    folder = run(config_in(runs, "run.name=learner", *settings, "evaluate.samples=0", "evaluate.photo=false"))
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert "== the learner is back at update " in capsys.readouterr().out
    metrics = lines(folder / "metrics.jsonl")
    assert [m["step"] for m in metrics] == list(range(1, 13))
    assert sum(m["faults/learner_restarts"] for m in metrics) == 1
    (fault,) = lines(folder / "faults.jsonl")
    assert (fault["role"], fault["kind"]) == ("learner", "died")
    assert fault["cause"].startswith("learner died while ")
    assert fault["requeued"]
    rollouts = [r for path in sorted((folder / "rollouts").iterdir()) for r in lines(path)]
    groups = [r["group_id"] for r in rollouts]
    assert {groups.count(group_id) for group_id in groups} == {4}  # each group once, with its four rollouts
    assert set(groups) == set(range(12 * 3))
    spans = json.loads((folder / "trace.json").read_text())["traceEvents"]
    delivered = [s["args"]["step"] for s in spans if s["name"] == "deliver"]
    assert len(delivered) > 13  # versions 0 to 12, and those that were taken back
    written_by = {(r["policy"]["step"], r["policy"]["sha256"]) for r in rollouts}
    assert len(written_by) == len({step for step, _ in written_by})  # none of a version that was taken back
    assert sorted(c.name for c in (folder / "checkpoints").iterdir()) == ["step-000010", "step-000012"]
    state = json.loads((folder / "checkpoints" / "step-000010" / "state.json").read_text())
    assert state["record"]["settings"]["loop.steps"] == 12
    assert state["record"]["knowledge"] == rollouts[0]["snapshot"]
    assert set(state["files"]) == {
        "adapter/COMPLETE",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/probe.json",
        "optimizer.pt",
    }
