"""The whole job on real parts: Ray, two vLLM engines, reward actors, learner, evaluation, report. Tiny and untrained.

Asserted are the promises of the system (who wrote what, how stale, what was delivered), not that anything is learned.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from fundus_ray.config import Config, load
from fundus_ray.data.by_hash import samples_of_image
from fundus_ray.errors import WorkerDiedError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.pipeline import run
from fundus_ray.read_image import generate_once

SMALL = [
    "data.train_samples=24",
    "data.eval_samples=6",
    "data.option_order=sorted",
    "sft.steps=2",
    "sft.vision_warmup_steps=1",
    "sft.batch_size=4",
    "rollout.workers=2",
    "rollout.cpus=0.5",
    "rollout.group_size=4",
    "rollout.max_tokens=12",
    "reward.workers=2",
    "loop.steps=2",
    "loop.groups_per_step=3",
]


def config_in(folder: Path, *overrides: str) -> Config:
    return load(None, [*SMALL, f"run.dir={folder}", *overrides])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, so that they share the warm start."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("ratio", [0, 1])
def test_two_updates_on_two_engines_keep_every_promise(runs: Path, ratio: int) -> None:
    every = ["loop.checkpoint_every=1", "evaluate.checkpoints=true"]
    folder = run(config_in(runs, f"loop.async_ratio={ratio}", f"run.name=ratio{ratio}", *every))

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 2
    assert summary["lag_max"] <= ratio
    assert summary["async_ratio"] == ratio
    assert summary["before"]["n"] == summary["after"]["n"] == 6
    rows = lines(folder / "evaluation-step-000001-rows.jsonl")
    assert {row["policy_step"] for row in rows} == {1}  # version 1 wrote again, after version 2
    assert {lines(folder / f"evaluation-{w}-rows.jsonl")[0]["policy_step"] for w in ("before", "after")} == {0, 2}
    spans = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert [s["args"]["step"] for s in spans if s["name"] == "deliver"] == [0, 1, 2]
    assert summary["adapter_publishes"] == 3  # versions 0, 1, 2
    assert summary["adapter_deliveries_proven"] == 6  # each on two engines
    assert {"data", "sft", "start", "evaluate_before", "rl", "evaluate_after"} <= set(summary["wall_s"])
    for name in ("report.md", "curves.png", "trace.json", "config.yaml", "versions.json"):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "tensorboard").iterdir())

    metrics = lines(folder / "metrics.jsonl")
    assert [m["step"] for m in metrics] == [1, 2]
    for step in metrics:
        assert step["delivery/probe_error"] < 1e-4
        assert step["mismatch/logprob_abs"] < (1e-4 if ratio == 0 else 0.05)  # engine and learner agree
        assert 0 <= step["idle/learner"] <= 1
        assert 0 <= step["idle/generator"] <= 1
    for number in (1, 2):
        rollouts = lines(folder / "rollouts" / f"step-{number:06d}.jsonl")
        assert len(rollouts) == 3 * 4
        assert all(number - 1 - r["policy"]["step"] <= ratio for r in rollouts)
        assert all(r["snapshot"] for r in rollouts)


def test_ctrl_c_ends_a_run_in_order_and_it_goes_on_from_its_checkpoint_and_its_policy_reads_an_image(
    runs: Path,
) -> None:
    without_evaluation = ["evaluate.samples=0", "evaluate.photo=false"]
    interrupt_a_run(runs, "run.name=resume", "loop.steps=200", "loop.checkpoint_every=0", *without_evaluation)
    folder = runs / "latest"
    done = json.loads((folder / "summary.json").read_text())["steps"]
    assert done < 200
    assert sorted(c.name for c in (folder / "checkpoints").iterdir()) == ["step-000000", f"step-{done:06d}"]
    first = (folder / "rollouts" / "step-000001.jsonl").read_text()

    again = run(config_in(runs, f"loop.steps={done + 1}", *without_evaluation), resume=folder)
    assert again == folder.resolve()
    assert [m["step"] for m in lines(folder / "metrics.jsonl")] == list(range(1, done + 2))
    assert (folder / "rollouts" / "step-000001.jsonl").read_text() == first
    groups = [{r["group_id"] for r in lines(path)} for path in sorted((folder / "rollouts").iterdir())]
    assert sum(map(len, groups)) == len(set().union(*groups))  # what was trained did not come again
    image_is_found_by_its_hash_and_read(folder)


def image_is_found_by_its_hash_and_read(folder: Path) -> None:
    line = lines(folder / "rollouts" / "step-000001.jsonl")[0]
    assert line["image"] == line["patient_id"] == ""
    config = load(folder / "config.yaml")
    found = samples_of_image(
        config, line["image_sha256"], cache_dir=folder.parent / "cache", finding_ids=load_vocabulary().ids
    )
    ((image, samples),) = found.items()
    assert samples == [line["sample"]]
    assert hashlib.sha256(Path(image).read_bytes()).hexdigest() == line["image_sha256"]
    assert isinstance(generate_once(policy=folder, image=Path(image), question=None, options=[]), str)


def interrupt_a_run(runs: Path, *overrides: str) -> None:
    """As a terminal would: SIGINT to the whole process group after the first update; exit code 130, and no process
    stays behind."""
    before, recipe = (runs / "latest").resolve(), runs / "recipe.yaml"
    recipe.write_text("{}")
    settings = [*SMALL, f"run.dir={runs}", *overrides]
    command = [sys.executable, "-m", "fundus_ray.cli", "train", "--config", str(recipe), *settings]
    with (
        (runs / "interrupted.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            wait_for_an_update(runs / "latest", before=before)
            family = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=240) == 130
        finally:
            process.kill()
    assert "go on with: fundus-ray train --resume" in (runs / "interrupted.log").read_text()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def wait_for_an_update(latest: Path, *, before: Path) -> None:
    """Until the run that `latest` will point to, other than `before`, has logged a step."""
    deadline = time.monotonic() + 480
    while time.monotonic() < deadline:
        metrics = latest.resolve() / "metrics.jsonl"
        if latest.resolve() != before and metrics.is_file() and metrics.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"no update within 480 s: {latest.resolve()}")


def test_the_death_of_vllms_own_process_ends_the_run_with_an_error_that_names_it_and_says_where_to_go_on(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killer = threading.Thread(target=kill_an_engine_during_rl, args=(runs / "latest", []), daemon=True)
    killer.start()
    settings = ["loop.steps=200", "loop.checkpoint_every=1", "evaluate.samples=0", "rollout.restarts=0"]
    with pytest.raises(WorkerDiedError, match=r"rollout-\d died while .*: vLLM's engine process died: .*\n.* ends: "):
        run(config_in(runs, "run.name=killed", *settings))
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert f"go on with: fundus-ray train --resume {(runs / 'latest').resolve()}" in capsys.readouterr().out


def test_a_killed_engine_comes_back_and_writes_on_and_no_process_of_the_dead_one_stays_behind(runs: Path) -> None:
    family: list[psutil.Process] = []
    kill = partial(kill_an_engine_during_rl, runs / "latest", family, title="ray::RolloutWorker")
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    only_one = ["rollout.workers=1", "loop.steps=40", "loop.checkpoint_every=0"]  # nobody else can finish the run
    folder = run(config_in(runs, "run.name=returns", *only_one, "evaluate.samples=0", "evaluate.photo=false"))
    killer.join(timeout=10)
    assert not killer.is_alive()
    assert json.loads((folder / "summary.json").read_text())["steps"] == 40
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
    assert {r["policy"]["step"] for r in rollouts} >= set(range(max(versions_before), 39))  # the newest, then all later
    assert family
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []  # vLLM's own process too


def test_a_killed_learner_comes_back_from_its_checkpoint_and_each_group_is_trained_once(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = partial(kill_an_engine_during_rl, runs / "latest", [], title="ray::LearnerRank")
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


def kill_an_engine_during_rl(latest: Path, family: list[psutil.Process], *, title: str = "VLLM::EngineCore") -> None:
    """SIGKILL one process of this title after the first update, from outside, as an operating system would; its
    children are added to `family`."""
    wait_for_an_update(latest, before=latest.resolve())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in psutil.Process(os.getpid()).children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith(title):
                    family += process.children(recursive=True)
                    process.send_signal(signal.SIGKILL)
                    return
            except psutil.Error:
                continue
