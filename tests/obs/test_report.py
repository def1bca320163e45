from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fundus_ray.config import load
from fundus_ray.errors import DataError
from fundus_ray.obs.report import write_report
from fundus_ray.obs.report_chains import pick_three
from fundus_ray.obs.run_record import lag_counts, paired_change, read_run, run_ceiling, summary, time_weighted
from fundus_ray.obs.sinks import RunFolder, checkpoint_name
from fundus_ray.types import ScoredGroup

MakeGroup = Callable[..., ScoredGroup]
TOP_KEYS = {
    "before",
    "after",
    "steps",
    "lag_max",
    "async_ratio",
    "wall_s",
    "adapter_publishes",
    "adapter_deliveries_proven",
    "dropped",
}


@dataclass(frozen=True)
class Row:
    sample: str
    correct: bool


@dataclass(frozen=True)
class Result:
    accuracy: float
    rows: tuple[Row, ...]

    def summary(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "accuracy_low": self.accuracy - 0.1,
            "accuracy_high": self.accuracy + 0.1,
            "finding_f1": None,
            "n": len(self.rows),
            "failed": {"unscorable": 1},
            "per_class": {"glaucoma": {"sensitivity": 0.5, "specificity": None, "positives": 4, "negatives": 0}},
        }


def result(*correct: int) -> Result:
    return Result(sum(correct) / len(correct), tuple(Row(f"s{i}", bool(c)) for i, c in enumerate(correct)))


STEP_1 = {
    "reward/total": 0.4,
    "lag/hist_0": 8.0,
    "lag/max": 0.0,
    "time/step": 10.0,
    "time/generate": 6.0,
    "time/score": 1.0,
    "time/update": 2.0,
    "time/publish": 0.5,
    "time/deliver": 0.5,
    "time/wait_group": 6.0,
    "idle/learner": 0.6,
    "idle/generator": 0.5,
    "dropped/unscorable": 1.0,
}
STEP_2 = {
    **STEP_1,
    "loss": math.nan,
    "lag/hist_0": 2.0,
    "lag/hist_1": 6.0,
    "lag/max": 1.0,
    "time/step": 30.0,
    "idle/learner": 0.2,
}


def new_run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path, name="trial", now=datetime(2031, 1, 1))
    run.write_config(load(None, ["loop.async_ratio=0.5", "loop.steps=2"]))
    run.write_versions()
    return run


def read_summary(run: RunFolder) -> dict[str, Any]:
    text = (run.path / "summary.json").read_text()
    value: dict[str, Any] = json.loads(text)
    return value


def test_an_image_without_a_path_is_named_by_its_hash_and_how_to_find_it(tmp_path: Path, make_group: MakeGroup) -> None:
    run = new_run(tmp_path)
    run.log_scored(1, [make_group([0.5])])
    run.close()
    write_report(run.path)
    report = (run.path / "report.md").read_text()
    assert f"`fundus-ray data image {'ab' * 8} --config {run.path}/config.yaml`" in report
    assert "eye one" not in report


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_a_whole_run_is_reported(tmp_path: Path, make_group: MakeGroup) -> None:
    run = new_run(tmp_path)
    run.log_evaluation("before", result(0, 0, 1, 0))
    run.log_step(1, STEP_1)
    run.log_step(2, {**STEP_2, "claims/not_found": 0.25, "outage/held": 3.0, "health/with_accuracy_consistency": -0.5})
    run.log_alarm(2, kind="outage", text="search was down; start it again")
    run.log_scored(2, [make_group([0.2, 0.9, 0.5], group_id=1), make_group([None], group_id=2)], image_paths=True)
    run.log_evaluation("after", result(1, 0, 1, 1))
    run.log_evaluation(checkpoint_name(1), result(1, 0, 1, 0))
    run.write_facts("starts", {"publishes": 1, "proofs": 2})
    run.write_facts("traces", {"folder": "/there", "verdicts": {"kept": 3, "wrong_answer": 1}})
    run.write_facts("photo", {"image": "/gone.png", "question": "What?", "text": "``` <think>", "answer": ["normal"]})
    run.close()
    write_report(run.path)

    made = read_summary(run)
    assert set(made) == TOP_KEYS
    assert (made["before"]["accuracy"], made["after"]["accuracy"], made["after"]["n"]) == (0.25, 0.75, 4)
    assert made["after"]["finding_f1"] is None
    assert (made["steps"], made["lag_max"], made["async_ratio"]) == (2, 1, 0.5)
    assert (made["adapter_publishes"], made["adapter_deliveries_proven"]) == (
        3,
        2,
    )  # these steps logged no proof of their own
    assert made["dropped"] == {"unscorable": 2}

    report = (run.path / "report.md").read_text()
    # Differences 1, 0, 0, 1: mean 0.5, s = sqrt(1/3), half-width 1.96 x 0.577 / 2 = 0.566.
    assert "25.0% → 75.0%** in 2 policy updates: +50.0 points, 95 % interval -6.6 to +100.0 (paired, n = 4)" in report
    assert "| accuracy | 25.0% [15.0%, 35.0%] | 75.0% [65.0%, 85.0%] | +50.0 points |" in report
    assert "| finding F1 | - | - | - |" in report
    rows = ["| 0 | 25.0% [15.0%, 35.0%] | - |", "| 1 | 50.0% [40.0%, 60.0%] | - |", "| 2 | 75.0% [65.0%, 85.0%] | - |"]
    assert "\n".join(rows) in report
    assert "| samples that could not be scored | unscorable: 1 | unscorable: 1 |" in report
    assert "not finite: `loss` at step 2" in report
    assert "| lag histogram [versions: rollouts] | 0: 10, 1: 6 |" in report
    assert "| trained on older versions (measured) | 37.5% |" in report
    # (10 s x 0.6 + 30 s x 0.2) / 40 s
    assert "| learner idle (waits for groups) | 30.0% |" in report
    # generation 10 s x 0.5 + 30 s x 0.5, scoring 2, update 4, sync 2: 28 / 20
    assert "| ceiling of the speed-up by overlap | 1.40x |" in report
    assert "| kept | 3 | 75% |\n| wrong answer | 1 | 25% |" in report
    assert "- **Alarm at update 2, outage:** search was down; start it again" in report
    assert "| relations not found | 25.0% | 25.0% |" in report
    assert "| correlation of consistency with accuracy | -0.50 | -0.50 |" in report
    assert "groups held for the search: 3" in report
    assert "### Best: 0.900 (accuracy 1.00, format 1.00, grounding n/a)" in report
    assert "### Median: 0.500" in report
    assert "### Worst: 0.200" in report
    assert "An enlarged cup is typical." in report
    assert "![the image](<../eye one.png>)" in report
    assert "out of distribution" in report
    assert "````text\n``` <think>\n````" in report
    width, height = png_size(run.path / "curves.png")
    assert width > 1000
    assert height > 1000


def test_a_run_without_updates_and_evaluation_says_so(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.close()
    write_report(run.path)
    made = read_summary(run)
    assert set(made) == TOP_KEYS
    assert (made["before"], made["after"], made["steps"], made["lag_max"]) == (None, None, 0, None)
    assert (made["adapter_publishes"], made["dropped"], made["wall_s"]) == (0, {}, {})
    report = (run.path / "report.md").read_text()
    assert "no held-out evaluation" in report
    assert "No policy update was made in this run" in report
    assert "No scored rollout was written" in report
    assert "photograph" not in report
    assert png_size(run.path / "curves.png")[0] > 1000


def test_a_run_stopped_before_its_last_evaluation_claims_no_change(tmp_path: Path, make_group: MakeGroup) -> None:
    run = new_run(tmp_path)
    run.log_evaluation("before", result(0, 1))
    run.log_step(1, {"reward/total": 0.4})
    run.log_scored(1, [make_group([0.5])])
    run.close()
    write_report(run.path)
    report = (run.path / "report.md").read_text()
    assert "Held-out accuracy 50.0%; there is no evaluation after RL" in report
    assert "| policy updates | 1 of 2 |" in report
    assert "### Best: 0.500" in report
    assert "### Worst" not in report
    assert read_summary(run)["after"] is None


def test_the_photograph_is_not_called_foreign_where_the_policy_was_trained_on_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_config(load(None, ["data.source=photo", "sft.vision_warmup_steps=0"]))
    run.write_facts("photo", {"text": "chain"})
    run.close()
    write_report(run.path)
    report = (run.path / "report.md").read_text()
    assert "out of distribution" not in report
    assert "trained on views of this photograph" in report


def test_a_run_cut_short_is_counted_from_its_steps(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.log_step(1, {**STEP_1, "delivery/proven": 2.0})
    run.log_step(2, {**STEP_2, "delivery/proven": 2.0})
    run.close()
    made = summary(read_run(run.path))
    assert (made["adapter_publishes"], made["adapter_deliveries_proven"]) == (2, 4)
    assert (made["dropped"], made["lag_max"]) == ({"unscorable": 2}, 1)


def test_versions_that_processes_started_from_count_as_published_and_proven(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.log_step(1, {**STEP_1, "delivery/proven": 2.0})
    run.write_facts("starts", {"publishes": 2, "proofs": 4})  # a run that was resumed once, on two engines
    run.close()
    made = summary(read_run(run.path))
    assert (made["adapter_publishes"], made["adapter_deliveries_proven"]) == (1 + 2, 2 + 4)


def test_run_totals_by_hand(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.log_step(1, STEP_1)
    run.log_step(2, STEP_2)
    run.close()
    record = read_run(run.path)
    assert lag_counts(record) == {0: 10, 1: 6}
    assert time_weighted(record, "idle/learner") == pytest.approx(0.3)
    assert run_ceiling(record) == pytest.approx(28 / 20)


def test_the_paired_change_uses_the_samples_that_both_evaluations_scored() -> None:
    before = [{"sample": s, "correct": c} for s, c in (("a", False), ("b", True), ("c", False), ("gone", True))]
    after = [{"sample": s, "correct": c} for s, c in (("c", True), ("b", True), ("a", False), ("new", False))]
    change = paired_change(before, after)
    assert change is not None
    # Differences a 0, b 0, c 1: mean 1/3, s^2 = 1/3, half-width 1.959964 x sqrt(1/9).
    assert change.n == 3
    assert change.mean == pytest.approx(1 / 3)
    assert change.low == pytest.approx(1 / 3 - 0.6533213)
    assert change.high == pytest.approx(1 / 3 + 0.6533213)
    assert paired_change(before[:1], after) is None


@pytest.mark.parametrize(
    ("totals", "picked"),
    [
        ([0.1], [("best", 0.1)]),
        ([0.1, 0.7], [("best", 0.7), ("median", 0.1)]),
        ([0.1, 0.7, 0.3, 0.2, 0.9], [("best", 0.9), ("median", 0.3), ("worst", 0.1)]),
    ],
)
def test_best_median_and_worst_are_different_rollouts(totals: list[float], picked: list[tuple[str, float]]) -> None:
    rollouts = [{"total": t, "group_id": 0, "seed": i} for i, t in enumerate(totals)]
    assert [(label, r["total"]) for label, r in pick_three(rollouts)] == picked


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        write_report(tmp_path)
