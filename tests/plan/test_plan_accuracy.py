"""The script on a made-up run folder (conftest.py): 8 steps of 4 groups in 76.75 s."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from plan_accuracy import compare, measured_rate, report

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.plan.fit import fit
from fundus_ray.plan.timed_run import read_timed_run


def test_the_measured_rate_is_all_trained_groups_over_the_whole_time(run_dir: Path) -> None:
    assert measured_rate(read_timed_run(run_dir)) == pytest.approx(8 * 4 / 76.75)


def test_all_steps_of_a_long_run_are_compared_and_not_the_last_alone(long_run_dir: Path) -> None:
    service = fit([read_timed_run(long_run_dir)]).service  # of the last 60 alone
    found = compare(long_run_dir, service, take_lengths=False)
    assert found.measured == pytest.approx(70 * 4 / 696.75)
    (long_run_dir / "rollouts" / "step-000001.jsonl").unlink()
    with pytest.raises(DataError, match=r"step-000001\.jsonl does not exist"):
        compare(long_run_dir, service, take_lengths=False)


def test_each_run_has_a_row_and_the_fitted_one_does_not_count(run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run_dir, other, ignore=shutil.ignore_patterns("other"))
    lines = report([run_dir], [other], take_lengths=False).splitlines()
    assert len(lines) == 5
    fitted, predicted = lines[1].split(), lines[2].split()
    assert fitted[0] == f"{run_dir.name}*"
    assert predicted[0] == "other"
    assert predicted[1:5] == fitted[1:5] == ["2", "1", fitted[3], "0.417"]
    assert "25% / " in lines[2]  # idle share of the learner
    assert "0.25 / " in lines[2]  # lag: 4 of 16 are one version old
    error = abs(float(predicted[6].rstrip("%")))
    assert lines[3] == f"* fitted on; of the others: mean |error| {error:.1f}%, largest {error:.1f}%"


def test_several_runs_are_fitted_together_and_none_is_predicted_from_itself(run_dir: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "second", tmp_path / "third"]
    for copy in copies:
        shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("second", "third"))
    lines = report([run_dir, copies[0]], [copies[1]], take_lengths=False).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [f"{run_dir.name}*", "second*", "third"]
    with pytest.raises(ConfigError, match="second is fitted on; leave it out of the runs to predict"):
        report([run_dir, copies[0]], [copies[0]], take_lengths=False)


def test_repeats_are_also_judged_by_their_median(run_dir: Path, tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("second", "third")]
    for copy in copies:
        shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("second", "third"))
    trace = copies[1] / "trace.json"  # 8 s more of waiting for the first group: 84.75 s
    events = json.loads(trace.read_text())
    first = min((e for e in events["traceEvents"] if e["name"] == "wait_group"), key=lambda e: e["ts"])
    first["ts"], first["dur"] = first["ts"] - 8e6, first["dur"] + 8e6
    trace.write_text(json.dumps(events))
    rows = report([run_dir], copies, take_lengths=False).splitlines()
    said = next(row for row in rows if row.startswith("of medians of repeats"))
    # 32 groups in 76.75 s and in 84.75 s: 0.4169 and 0.3776, of which the median is the mean, 0.3973.
    assert "repeats differ by up to 9.9%" in said
    error = abs(float(rows[2].split()[5]) / 0.39726 - 1)
    assert float(said.split("largest ")[1].split("%")[0]) == pytest.approx(100 * error, abs=0.2)
