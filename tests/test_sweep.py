"""The asynchronous sweep on made-up run folders: every number by hand; what is asked for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import sweep_async
from machine_load import busy_seconds
from paired_difference import Difference
from sweep_async import PARTS, QUICK, QUICK_PLAN, RECIPE, Plan, changed, check, ordered, parsed, run_settings
from sweep_experiment import Experiment, mean_lags, seeds_interval
from sweep_measures import LeftOut, Setting, SweepRun, curve, figures, last_reward, rewards, speed_up
from sweep_report import verdict, write_report

from fundus_ray.config import load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.evaluate.metrics import EvalRow, summarise
from fundus_ray.obs.sinks import RunFolder, checkpoint_name

SYNC, NONE, TIS = Setting(0, ""), Setting(1, "none"), Setting(1, "tis")
SETTINGS = ["loop.steps=4", "loop.groups_per_step=3", "rollout.group_size=2", "rollout.cores=0", "learner.cores=1"]

# An update at ratio 0: 4 + 1 + 4 + 1 = 10 s of work; two at ratio 1.
AT_0 = {
    "time/step": 10.0,
    "time/generate": 4.0,
    "time/score": 1.0,
    "time/update": 4.0,
    "time/publish": 0.25,
    "time/deliver": 0.75,
    "idle/learner": 0.5,
    "idle/generator": 0.6,
    "lag/hist_0": 6.0,
    "mismatch/logprob_abs": 0.0,
    "mismatch/ess": 1.0,
    "masked_share": 0.0,
}
AT_1 = {**AT_0, "time/step": 6.0, "idle/learner": 0.1, "idle/generator": 0.2, "lag/hist_0": 2.0, "lag/hist_1": 4.0}
AT_1 |= {"mismatch/logprob_abs": 0.02, "mismatch/ess": 0.9, "masked_share": 0.25}


def rows(correct: Sequence[int]) -> list[EvalRow]:
    return [
        EvalRow(
            sample=f"s{i}",
            image="i.png",
            task="diagnosis",
            question="q",
            options=("a", "b"),
            gold_answer=("a",),
            gold_findings=None,
            text="t",
            answer=("a",) if right else ("b",),
            correct=bool(right),
            findings=(),
            recited=None,
            well_formed=True,
            status="scored",
            total=0.0,
            parts={},
            policy_step=0,
            policy_sha256="x",
        )
        for i, right in enumerate(correct)
    ]


def made(
    parent: Path, name: str, updates: Sequence[dict[str, float]], *, busy: float | None = None, **evaluations: list[int]
) -> Path:
    """A run folder whose update k is paid k / 10."""
    run = RunFolder.create(parent, name=name)
    run.write_config(load(None, SETTINGS))
    run.write_versions()
    for step, metrics in enumerate(updates, start=1):
        run.log_step(step, {**metrics, "reward/total": step / 10})
    for when, correct in evaluations.items():
        name = checkpoint_name(int(when.removeprefix("step"))) if when.startswith("step") else when
        run.log_evaluation(name, summarise(rows(correct), failed={}))
    if busy is not None:
        (run.path / "machine.json").write_text(json.dumps({"busy_cores": busy}))
    run.close()
    return run.path


def test_what_is_left_out_grows_with_the_largest_ratio() -> None:
    assert LeftOut.of([0]) == LeftOut(2, 0)
    assert LeftOut.of([0, 0.25, 1]) == LeftOut(3, 1)
    assert LeftOut.of([0, 1, 2.5]) == LeftOut(5, 3)


def test_figures_are_of_the_updates_between(tmp_path: Path) -> None:
    slow, quick = {**AT_1, "time/step": 99.0, "lag/hist_0": 50.0}, {**AT_1, "time/step": 2.0, "idle/learner": 0.5}
    folder = made(tmp_path, "x", [slow, AT_1, quick, AT_1, slow], busy=0.25)
    found = figures(folder, LeftOut(1, 1))
    assert (found.steps, found.step_s, found.sync_s, found.busy) == (3, 6.0, 1.0, 0.25)
    assert found.learner_idle == pytest.approx((0.1 * 6 + 0.5 * 2 + 0.1 * 6) / 14)  # shares of the whole time
    assert found.lags == {0: pytest.approx(1 / 3), 1: pytest.approx(2 / 3)}
    assert found.off_policy == pytest.approx(2 / 3)
    assert found.ceiling == pytest.approx(10 / 5)  # (4 + 1 + 4 + 1) / max(4, 1, 4 + 1)
    assert (found.mismatch, found.ess, found.masked) == pytest.approx((0.02, 0.9, 0.25))


def test_speed_up_is_of_median_steps_and_its_ceiling_that_of_ratio_0(tmp_path: Path) -> None:
    synchronous = figures(made(tmp_path, "a", [AT_0, AT_0, {**AT_0, "time/step": 40.0}]), LeftOut(0, 0))
    stale = figures(made(tmp_path, "b", [{**AT_1, "time/update": 9.0}] * 3), LeftOut(0, 0))
    found = speed_up(stale, synchronous)
    assert found.value == pytest.approx(10 / 6)
    assert found.of_means == pytest.approx(20 / 6)  # (10 + 10 + 40) / 3
    assert found.ceiling == pytest.approx(2.0)
    assert found.share == pytest.approx(10 / 12)
    assert stale.ceiling == pytest.approx((4 + 1 + 9 + 1) / 10)  # its own is told beside it
    assert stale.busy is None


def test_too_few_updates_are_an_error_that_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path, "x", [AT_0] * 3)
    with pytest.raises(DataError, match=r"of its 3 updates the first 2 and the last 1 are left out, so none"):
        figures(folder, LeftOut(2, 1))


def test_a_curve_counts_samples_and_seconds_of_training(tmp_path: Path) -> None:
    before = made(tmp_path, "start", [], before=[0, 0, 1, 0])
    folder = made(tmp_path, "x", [AT_0, AT_1, AT_1, AT_0], step2=[1, 0, 1, 0], after=[1, 1, 1, 0])
    points = curve(folder, before=before)
    assert [(p.updates, p.samples, p.seconds) for p in points] == [(0, 0, 0.0), (2, 12, 16.0), (4, 24, 32.0)]
    assert [sum(row.correct for row in p.rows) for p in points] == [1, 2, 3]
    assert [p.updates for p in curve(folder, before=None)] == [2, 4]
    assert rewards(folder) == ([6, 12, 18, 24], [10.0, 16.0, 22.0, 32.0], [0.1, 0.2, 0.3, 0.4])
    assert last_reward(folder) == pytest.approx(0.25)  # all four, as there are no five


def test_lags_of_several_runs_are_averaged(tmp_path: Path) -> None:
    of = [figures(made(tmp_path, name, [step]), LeftOut(0, 0)) for name, step in (("a", AT_0), ("b", AT_1))]
    assert mean_lags(of) == {0: pytest.approx((1 + 1 / 3) / 2), 1: pytest.approx(1 / 3)}


def test_an_interval_over_seeds_is_students() -> None:
    # mean 2, s 1, t(0.975; 2) = 4.3027: 2 -+ 4.3027 / sqrt(3)
    assert seeds_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.4842, 4.4842), abs=1e-4)
    assert seeds_interval([1.0]) is None


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [
        (-0.09, -0.01, (-0.05, -0.05, -0.05), "costs accuracy"),
        (0.01, 0.09, (0.05, 0.06, 0.05), "gains accuracy"),
        (-0.09, -0.01, (-0.01, -0.13, -0.01), "lower in every seed"),  # -5 -+ 17 points over seeds
        (-0.09, -0.01, (-0.05, -0.11, 0.01), "not told apart"),
        (-0.09, 0.01, (-0.05, -0.05, -0.05), "not told apart"),
        (-0.09, -0.01, (-0.05,), ""),
    ],
)
def test_a_verdict_needs_both_intervals(low: float, high: float, seeds: tuple[float, ...], words: str) -> None:
    value = sum(seeds) / len(seeds)
    assert verdict(Difference(value, low, high, seeds)) == words


def whole(tmp_path: Path) -> list[Experiment]:
    """Two runs of a split; and an accuracy part of two seeds, in which uncorrected staleness costs 1 sample of 4."""
    split = [
        SweepRun(setting, 0, repeat, made(tmp_path, f"split{repeat}{setting.ratio}", [step] * 4, busy=0.1 * repeat))
        for repeat in (0, 1)
        for setting, step in ((SYNC, AT_0), (TIS, {**AT_1, "time/step": 6.0 - repeat}))
    ]
    befores = {seed: made(tmp_path, f"start{seed}", [], before=[0, 0, 0, 1]) for seed in (3, 4)}
    after = {SYNC: [1, 1, 0, 1], NONE: [1, 0, 0, 1], TIS: [1, 1, 0, 1]}
    accuracy = [
        SweepRun(s, seed, 0, made(tmp_path, f"acc{seed}{s.name}", [step] * 4, step2=[1, 0, 0, 1], after=after[s]))
        for seed in (3, 4)
        for s, step in ((SYNC, AT_0), (NONE, AT_1), (TIS, AT_1))
    ]
    left_out = LeftOut(1, 1)
    return [Experiment("split", split, left_out, {}), Experiment("accuracy", accuracy, left_out, befores)]


def test_the_report_has_every_table_and_a_picture(tmp_path: Path) -> None:
    text = write_report(whole(tmp_path), folder=tmp_path / "out")
    assert (tmp_path / "out" / "async.md").read_text() == text + "\n"
    assert (tmp_path / "out" / "async.png").stat().st_size > 10_000
    lines = text.splitlines()
    assert lines[0].startswith("**split**: 4 runs of 4 updates of 3 x 2 rollouts of at most 64 tokens, 1 optimizer")
    assert "engine on core 0, learner on core 1" in lines[0]
    assert "learning rate 0.001, learner.kl 0;" in lines[0]
    assert "other work used 0.00 to 0.10 cores before a run began" in lines[0]
    assert "The first 1 and the last 1 updates are not measured" in lines[0]
    head = "|  | step s | mean step s | Tg | Tr | Tt | Ts | learner idle | engine idle | speed-up | ceiling at r = 0 |"
    assert f"{head} share of it | by mean steps | own ceiling |" in lines
    stages, means = "4.00 | 1.00 | 4.00 | 1.00", "**10.00**; 10.00 10.00"
    assert f"| r = 0 | {means} | {means} | {stages} | 50% | 60% | 1 | 2.00 |  | 1 | 2.00 |" in lines
    # 10 / 6 and 10 / 5, of 2
    stale = f"| r = 1, tis | **5.50**; 6.00 5.00 | **5.50**; 6.00 5.00 | {stages} | 10% | 20% | **1.83**; 1.67 2.00 |"
    assert f"{stale} 2.00 | **92%**; 83% 100% | **1.83**; 1.67 2.00 | 2.00 |" in lines
    assert "| r = 1, tis | 0: 33%, 1: 67% | 67% | 0.0200 | 0.900 | 25.0% | **0.250**; 0.250 0.250 |" in lines
    assert "| updates | 0 (0 samples) | 2 (12 samples) | 4 (24 samples) |" in lines
    assert any(
        line.startswith("| r = 1, none | 0.250 (0 s) | 0.500 (12 s) | 0.500 [") and line.endswith("] (24 s) |")
        for line in lines
    )
    assert any(
        line.startswith("| r = 1, none - r = 0 | ")
        and "-25.0 [" in line
        and "; -25.0 -25.0 | -25.0 [-25.0, -25.0] |" in line
        for line in lines
    )
    assert "| r = 1, tis - r = 0 | +0.0 [+0.0, +0.0]; +0.0 +0.0 | +0.0 [+0.0, +0.0] | not told apart |" in lines


def test_every_commit_that_runs_were_made_at_is_named(tmp_path: Path) -> None:
    split = whole(tmp_path)[0]
    for run, git in zip(
        split.runs,
        [
            {"commit": "b" * 40, "dirty": False},
            {"commit": "a" * 40, "dirty": False},
            {"commit": "b" * 40, "dirty": True},
            {"commit": "a" * 40, "dirty": False},
        ],
        strict=True,
    ):
        (run.folder / "versions.json").write_text(json.dumps({"git": git, "cpu_count": 2}))
    text = write_report([split], folder=tmp_path / "out")
    assert f"; commits {'a' * 12}, {'b' * 12}, {'b' * 12} with local changes. The first" in text
    for run in split.runs:
        (run.folder / "versions.json").write_text(json.dumps({"git": None, "cpu_count": 2}))
    assert "; commit unknown. The first" in write_report([split], folder=tmp_path / "out")


def test_runs_on_other_samples_are_not_compared(tmp_path: Path) -> None:
    accuracy = whole(tmp_path)[1]
    file = accuracy.runs[1].folder / "evaluation-after-rows.jsonl"
    file.write_text(file.read_text().replace('"s0"', '"other"'))
    with pytest.raises(ValueError, match=r"'r = 1, none' and 'r = 0' were not read on the same held-out samples"):
        write_report([accuracy], folder=tmp_path / "out")


def test_ratio_0_is_made_once_and_repeats_go_round() -> None:
    plan = Plan((0, 1), ("none", "tis"), seeds=(5, 6), repeats=2, updates=9, checkpoint_every=3)
    assert plan.settings() == [SYNC, NONE, TIS]
    order = [(seed, repeat, setting.name) for seed, repeat, setting in ordered(plan)]
    assert order[:4] == [(5, 0, "r = 0"), (5, 0, "r = 1, none"), (5, 0, "r = 1, tis"), (5, 1, "r = 0")]
    assert len(order) == 12


def test_the_sweep_is_of_the_promised_size() -> None:
    sizes = {name: len(plan.settings()) * len(plan.seeds) * plan.repeats for name, plan in PARTS.items()}
    assert sizes == {"split": 10, "ratios": 11, "accuracy": 15}


@pytest.mark.parametrize("correction", sweep_async.CORRECTIONS)
@pytest.mark.parametrize("name", [*PARTS, "quick"])
def test_every_run_is_a_configuration_that_is_allowed(name: str, correction: str) -> None:
    plan = PARTS.get(name, QUICK_PLAN)
    for ratio in plan.ratios:
        load(RECIPE, [*run_settings(plan, Setting(ratio, correction)), *(QUICK if name == "quick" else ())])


def test_runs_of_the_ratios_and_of_the_first_seed_s_accuracy_are_the_same() -> None:
    assert run_settings(PARTS["ratios"], TIS) == run_settings(PARTS["accuracy"], TIS)


def test_options_change_a_part() -> None:
    args = parsed(["split", "--ratios", "0,0.5", "--repeats", "5", "rollout.group_size=16", "--seeds", "7"])
    assert (args.parts, args.overrides) == (["split"], ["rollout.group_size=16"])
    plan = changed(PARTS["split"], args)
    assert plan == Plan((0.0, 0.5), ("tis",), seeds=(7,), repeats=5, updates=24, checkpoint_every=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed"], "unknown part speed; there are split, ratios, accuracy"),
        (["--ratios", "1,2"], "--ratios must hold 0"),
        (["--ratios", "0"], "at least one above it"),
        (["--ratios", "0,-1"], "--ratios must hold 0"),
        (["--ratios", "0,x"], "invalid list of float value: '0,x'"),
        (["--ratios", "0,1,1"], "0,1,1 names a value twice"),
        (["--corrections", "tis,magic"], "magic is none of none, tis, icepop"),
        (["--seeds", "1.5"], "invalid list of int value: '1.5'"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--updates", "-3"], "--updates must be at least 1"),
        (["loop.async_ratio=2"], "loop.async_ratio=2: the sweep gives this to each run; use --ratios"),
        (["run.name=x"], "it tells repeats apart"),
        (["split", "--quick"], "--quick has runs of its own"),
        (["split", "--readme"], "--readme is for the whole sweep"),
    ],
)
def test_options_that_cannot_work_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_too_few_updates_are_refused_before_any_run() -> None:
    with pytest.raises(ConfigError, match=r"--updates 10 is too few for ratios: the first 6 and the last 4 updates"):
        check({"ratios": changed(PARTS["ratios"], parsed(["--updates", "10"]))}, [])


def test_a_setting_that_is_not_allowed_is_refused_before_any_run() -> None:
    with pytest.raises(ConfigError, match=r"unknown key learner\.rate"):
        check(PARTS, ["learner.rate=1"])


def test_what_the_machine_has_not_and_a_seed_out_of_range_are_refused_before_any_run() -> None:
    with pytest.raises(ConfigError, match=r"learner\.cores=9999: this machine lets"):
        check(PARTS, ["learner.cores=9999"])
    with pytest.raises(ConfigError, match=r"run\.seed=-1 is not allowed"):
        check({"accuracy": changed(PARTS["accuracy"], parsed(["--seeds", "0,-1"]))}, [])


def test_busy_seconds_are_all_but_idle_and_waiting() -> None:
    assert busy_seconds("cpu  100 200 300 9999 8888 10 20 30 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n") == pytest.approx(6.6)
