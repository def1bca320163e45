"""`fundus-ray plan --run` on a made-up run: what of it may be changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_ray.cli import main

QUICK = ("--workers", "2", "--ratios", "0.5", "--json")


def plan(capsys: pytest.CaptureFixture[str], run_dir: Path, *words: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    code = main(["plan", "--run", str(run_dir), *QUICK, *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("change", "had", "option", "value"),
    [
        ("learner.gpus=4", "1", "--update-s", "4"),
        ("rollout.max_tokens=32", "64", "--tokens", "20:5"),
        ("rollout.group_size=8", "4", "--tokens", "20:5"),
    ],
)
def test_a_change_that_the_runs_times_do_not_hold_for_needs_times_of_its_own(
    capsys: pytest.CaptureFixture[str], run_dir: Path, change: str, had: str, option: str, value: str
) -> None:
    code, _, err = plan(capsys, run_dir, change)
    assert code == 2
    assert f"{change}: {run_dir} had {had}; " in err
    assert f"state {option} to plan with" in err
    assert plan(capsys, run_dir, change, option, value)[0] == 0


def test_what_changes_nothing_is_no_change(capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
    same = plan(capsys, run_dir, "learner.gpus=1", "rollout.max_tokens=64", "rollout.group_size=4")
    assert same == plan(capsys, run_dir)


def test_a_wider_window_is_planned_with(capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
    # Workers are uneven: one rests now and then. With a window of 3 as in the run, or in strict order.
    _, own, _ = plan(capsys, run_dir)
    _, strict, _ = plan(capsys, run_dir, "loop.window=0")
    rates = [json.loads(out)["cells"][0]["groups_per_s"] for out in (own, strict)]
    assert rates[0] > rates[1]


def test_a_plan_says_where_it_assumes_how_much_the_halves_slow_each_other(
    capsys: pytest.CaptureFixture[str], run_dir: Path
) -> None:
    # In the made-up run every update runs beside the engines for about as long.
    assert main(["plan", "--run", str(run_dir), "--run", str(run_dir), "--workers", "2", "--ratios", "0"]) == 0
    out = capsys.readouterr().out
    assert "fitted to 64 groups of 16 steps" in out
    assert "assumed: how much engines and learner slow each other" in out
    assert "take short runs at ratio 0 and above" in out
