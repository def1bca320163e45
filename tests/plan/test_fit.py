"""A run folder made up of known times (conftest.py), read and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.errors import DataError
from fundus_ray.plan.engine import EngineSpeed
from fundus_ray.plan.fit import fit
from fundus_ray.plan.timed_run import KEYS, read_timed_run

# As in conftest.py.
SPEED = EngineSpeed(iteration_s=0.02, sequence_s=0.001, prompt_s=0.05)
STEPS, GROUPS = 8, 4


def test_the_engine_that_wrote_the_run_is_found(run_dir: Path) -> None:
    found = fit(read_timed_run(run_dir))
    engine = found.service.engine
    for running in (4, 8, 12):
        assert engine.tokens_per_s(running) == pytest.approx(SPEED.tokens_per_s(running), rel=0.05)
    assert engine.prompt_s == pytest.approx(SPEED.prompt_s, abs=0.03)
    assert found.service.engine_drag == pytest.approx(0.0, abs=0.05)
    assert found.group_error_s < 0.03 * found.group_s
    assert (found.groups, found.steps) == (STEPS * GROUPS, STEPS)


def test_the_other_times_are_read_off_the_spans(run_dir: Path) -> None:
    service = fit(read_timed_run(run_dir)).service
    assert service.score_s == pytest.approx([0.25] * (STEPS * GROUPS))
    assert service.score_least_s == pytest.approx(0.25)
    assert service.publish_s == pytest.approx([0.125] * STEPS)
    assert service.deliver_idle_s == pytest.approx([0.5] * len(service.deliver_idle_s))
    # 0.125 s between wait and update, 3.25 s from the version's delivery to the next wait; none after the last.
    assert service.overhead_s == pytest.approx([3.375] * (STEPS - 1) + [0.125])
    assert service.drop_share == pytest.approx(1 / (STEPS * GROUPS))
    # All updates take the same, however much the engines worked: no drag.
    assert service.learner_drag == pytest.approx(0.0, abs=1e-6)
    assert service.update_s == pytest.approx([1.0] * STEPS)


def test_a_checkpoint_is_what_its_steps_took_longer(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    with_checkpoints = replace(run, config=replace(run.config, loop=replace(run.config.loop, checkpoint_every=3)))
    late = list(run.wait_group)
    for after in (3, 6):  # versions 3 and 6 are saved before these steps begin, in 1.5 s
        late[after] = replace(late[after], start_s=late[after].start_s + 1.5)
    service = fit(replace(with_checkpoints, wait_group=late)).service
    # Steps without one: five of 3.375 s, and the last, after which no step begins, of 0.125 s.
    usual = (5 * 3.375 + 0.125) / 6
    assert service.checkpoint_s == pytest.approx([4.875 - usual] * 2)
    assert service.overhead_s == pytest.approx([3.375] * 5 + [0.125])


def test_the_runs_own_window_is_taken_over(run_dir: Path) -> None:
    assert read_timed_run(run_dir).config.loop.window == 3
    text = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(text.replace("async_ratio: 1.0", "async_ratio: 0.0"))
    run = read_timed_run(run_dir)  # at ratio 0 it is idle, and no error
    assert (run.config.loop.window, run.config.loop.async_ratio) == (3, 0.0)


def test_the_last_steps_are_read_or_all(run_dir: Path) -> None:
    last, everything = read_timed_run(run_dir, most_steps=5), read_timed_run(run_dir, most_steps=None)
    assert [span.ids["step"] for span in last.update] == [3, 4, 5, 6, 7]
    assert len(everything.update) == STEPS


def test_what_was_before_and_after_the_steps_is_left_out(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    assert min(span.start_s for span in run.generate) >= 100.0
    assert run.deliver[0].ids["step"] == 1
    assert (run.start_s, run.end_s) == pytest.approx((100.0, 176.75))


def test_settings_of_another_version_of_the_package_do_not_matter(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    assert len(run.settings) == len(KEYS)
    assert run.config.rollout.max_seqs == 12


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("trace.json", None, "has no trace.json; it is written when `fundus-ray train` ends"),
        ("trace.json", "{", "trace.json cannot be read"),
        ("trace.json", '{"traceEvents": [{"ph": "X"}]}', "is not a trace of"),
        ("trace.json", '{"traceEvents": []}', "has 0 timed learner steps; at least 4"),
        ("config.yaml", None, "has no config.yaml"),
        ("config.yaml", "rollout: {}", "cannot be read as a run's configuration"),
        ("rollouts/step-000003.jsonl", None, "step-000003.jsonl does not exist"),
        ("rollouts/step-000003.jsonl", '{"group_id": 1}\n', "a row lacks group_id, tokens or trainable"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_by_file(
    run_dir: Path, file: str, content: str | None, said: str
) -> None:
    if content is None:
        (run_dir / file).unlink()
    else:
        (run_dir / file).write_text(content)
    with pytest.raises(DataError) as caught:
        read_timed_run(run_dir)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
