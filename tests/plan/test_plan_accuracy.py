"""The script on a made-up run folder (conftest.py): 8 steps of 4 groups in 76.75 s."""

from __future__ import annotations

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
    cells, _ = compare(long_run_dir, service, take_lengths=False)
    assert cells[3] == "0.402"  # 70 x 4 groups in 696.75 s
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
