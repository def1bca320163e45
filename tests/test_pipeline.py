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
from pathlib import Path

import psutil
import pytest
from small_run import SMALL, config_in, lines, wait_for_an_update

from fundus_ray.config import load
from fundus_ray.data.by_hash import samples_of_image
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.pipeline import run
from fundus_ray.read_image import generate_once


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, so that they share the warm start."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(("ratio", "engines"), [(0, 1), (1, 2)])
def test_two_updates_keep_every_promise(runs: Path, ratio: int, engines: int) -> None:
    every = ["loop.checkpoint_every=1", "evaluate.checkpoints=true", f"rollout.workers={engines}"]
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
    assert summary["adapter_deliveries_proven"] == 3 * engines  # each on every engine
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
    without_evaluation = ["evaluate.samples=0", "evaluate.photo=false", "rollout.workers=1", "reward.workers=1"]
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
