"""A run folder made up of known times (conftest.py), read and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.trace import Span
from fundus_ray.plan.drag import USUAL_DRAG
from fundus_ray.plan.engine import EngineServer, EngineSpeed
from fundus_ray.plan.fit import fit
from fundus_ray.plan.timed_run import KEYS, TimedRun, read_timed_run

# As in conftest.py.
SPEED = EngineSpeed(iteration_s=0.02, sequence_s=0.001, prompt_s=0.05)
STEPS, GROUPS = 8, 4


def test_the_engine_that_wrote_the_run_is_found(run_dir: Path) -> None:
    found = fit([read_timed_run(run_dir)])
    engine = found.service.engine
    for running in (4, 8, 12):
        assert engine.tokens_per_s(running) == pytest.approx(SPEED.tokens_per_s(running), rel=0.05)
    assert engine.prompt_s == pytest.approx(SPEED.prompt_s, abs=0.03)
    assert found.service.engine_drag == pytest.approx(0.0, abs=0.05)
    assert found.group_error_s < 0.03 * found.group_s
    assert (found.groups, found.steps) == (STEPS * GROUPS, STEPS)


def test_the_other_times_are_read_off_the_spans(run_dir: Path) -> None:
    service = fit([read_timed_run(run_dir)]).service
    assert service.score_s == pytest.approx([0.25] * (STEPS * GROUPS))
    assert service.score_least_s == pytest.approx(0.25)
    assert service.publish_s == pytest.approx([0.125] * STEPS)
    assert service.deliver_idle_s == pytest.approx([0.5] * len(service.deliver_idle_s))
    # 0.125 s between wait and update, 3.25 s from the version's delivery to the next wait; none after the last.
    assert service.overhead_s == pytest.approx([3.375] * (STEPS - 1) + [0.125])
    assert service.drop_share == pytest.approx(1 / (STEPS * GROUPS))
    # All updates take the same, however much the engines worked: no drag.
    assert service.learner_drag == pytest.approx(0.0, abs=1e-6)
    assert service.update_s == pytest.approx([1.0] * (STEPS - 1))  # the first is kept apart
    assert service.first_update_s == pytest.approx(0.0)


def test_the_first_updates_warming_up_is_kept_apart(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    first, *others = run.update
    slow = replace(run, update=[replace(first, start_s=first.start_s - 1.5), *others])
    assert fit([slow]).service.first_update_s == pytest.approx(1.5)
    later = fit([replace(slow, has_start=False)]).service  # only its last steps: an update like others
    assert (later.first_update_s, len(later.update_s)) == (0.0, STEPS)


def made_run(run: TimedRun, *, together: bool, drag: float) -> TimedRun:
    """One engine and the learner in turn, or both at once and each 1 + drag times as slow meanwhile: 20 steps of 20 s.

    Alone an update takes 1 s; all of a step's groups come at once and take longer.
    """
    starts = [20.0 * step for step in range(20)]
    update_s = 1.0 + drag if together else 1.0
    updates = [t if together else t + 10.0 for t in starts]
    engine = EngineServer(replace(SPEED, prompts_at_once=1), max_seqs=12)
    lengths = [group for group in run.lengths.values() if max(group) > 30][:8]
    begun: dict[int, float] = {}
    for step, t in enumerate(starts):
        if together:
            engine.set_pace(1 / update_s, at_s=t)
        for i, group in enumerate(lengths[step % 2 * 4 : step % 2 * 4 + 4]):
            begun[4 * step + i] = t
            engine.arrive(4 * step + i, group, at_s=t)
        engine.set_pace(1.0, at_s=t + update_s)
    written = {4 * step + i: lengths[step % 2 * 4 + i] for step in range(20) for i in range(4)}
    ends = dict(engine.advance(to_s=1e6))
    assert all(max(ends[group + i] for i in range(4)) > begun[group] + update_s for group in range(0, 80, 4))
    return replace(
        run,
        config=replace(
            run.config,
            rollout=replace(run.config.rollout, workers=1, gpus=0.0),
            learner=replace(run.config.learner, gpus=0.0),
        ),
        generate=[Span("generate", begun[g], ends[g], {"worker": "rollout-0", "group": g}) for g in sorted(ends)],
        score=[Span("score", ends[g], ends[g] + 0.1, {"worker": "reward-0", "group": g}) for g in sorted(ends)],
        wait_group=[Span("wait_group", t, t, {}) for t in updates],
        update=[Span("update", t, t + update_s, {}) for t in updates],
        publish=[Span("publish", t + update_s, t + update_s, {}) for t in updates],
        deliver=[Span("deliver", t + update_s, t + update_s, {"step": i}) for i, t in enumerate(updates, 1)],
        lengths=written,
        dropped=0,
        has_start=False,
    )


def test_a_run_that_cannot_show_how_engine_and_learner_slow_each_other_leaves_what_is_usual(run_dir: Path) -> None:
    in_turn = fit([made_run(read_timed_run(run_dir), together=False, drag=0.3)])
    assert not in_turn.drag_is_seen
    assert in_turn.busy_share == 0.0
    assert in_turn.service.learner_drag == USUAL_DRAG
    assert in_turn.service.engine_drag == USUAL_DRAG
    assert in_turn.service.update_s == pytest.approx([0.25] * 20)
    at_once = fit([made_run(read_timed_run(run_dir), together=True, drag=0.3)])
    assert not at_once.drag_is_seen
    assert at_once.busy_share == pytest.approx(1.0)
    assert (at_once.service.learner_drag, at_once.service.engine_drag) == (USUAL_DRAG, USUAL_DRAG)


def test_a_busy_share_is_of_the_spans_time_and_of_all_workers(run_dir: Path) -> None:
    run = made_run(read_timed_run(run_dir), together=False, drag=0.0)
    first = max(span.end_s for span in run.generate if span.ids["group"] in range(4))
    assert run.busy_share(Span("update", 0.0, 4 * first)) == pytest.approx(0.25)
    two = replace(run, config=replace(run.config, rollout=replace(run.config.rollout, workers=2)))
    assert two.busy_share(Span("update", 0.0, 4 * first)) == pytest.approx(0.125)


def test_gpus_of_their_own_are_not_expected_to_slow_each_other(run_dir: Path) -> None:
    run = made_run(read_timed_run(run_dir), together=False, drag=0.3)
    config = replace(run.config, rollout=replace(run.config.rollout, gpus=1.0))
    service = fit([replace(run, config=config)]).service
    assert (service.learner_drag, service.engine_drag) == (0.0, 0.0)


def test_two_runs_fitted_together_show_it(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    both = fit([made_run(run, together=False, drag=0.3), made_run(run, together=True, drag=0.3)])
    assert both.drag_is_seen
    assert both.service.learner_drag == pytest.approx(0.3)
    assert both.service.engine_drag == pytest.approx(0.3, abs=0.05)
    assert both.service.update_s == pytest.approx([0.25] * 40)
    assert (both.groups, both.steps) == (160, 40)


def late(run: TimedRun, *, groups: range, seconds: float) -> TimedRun:
    """The same run, these groups done that much later."""
    moved = [replace(s, end_s=s.end_s + seconds) if s.ids["group"] in groups else s for s in run.generate]
    return replace(run, generate=moved)


def test_what_the_first_groups_took_longer_is_the_engines_warming_up(run_dir: Path) -> None:
    run = made_run(read_timed_run(run_dir), together=False, drag=0.0)
    cold = late(replace(run, has_start=True), groups=range(4), seconds=0.5)
    assert fit([cold]).service.engine_warm_up_s == pytest.approx(0.5, abs=0.03)
    assert fit([run]).service.engine_warm_up_s == 0.0


def test_time_in_which_few_groups_were_held_up_is_not_lost(run_dir: Path) -> None:
    run = made_run(read_timed_run(run_dir), together=False, drag=0.0)
    held_up = late(run, groups=range(40, 44), seconds=2.0)
    engine = EngineServer(fit([held_up]).service.engine, max_seqs=12)
    for span in run.generate:
        group = int(span.ids["group"])
        engine.arrive(group, run.lengths[group], at_s=span.start_s)
    begun = {int(span.ids["group"]): span.start_s for span in run.generate}
    predicted = sum(end - begun[group] for group, end in engine.advance(to_s=1e6))
    assert predicted == pytest.approx(sum(span.end_s - span.start_s for span in held_up.generate), rel=0.01)


def test_runs_of_different_systems_are_not_fitted_together(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    other = replace(run, config=replace(run.config, rollout=replace(run.config.rollout, max_seqs=64)))
    with pytest.raises(ConfigError, match=r"rollout\.max_seqs is 12 and 64: runs that are fitted together must agree"):
        fit([run, other])


def test_a_checkpoint_is_what_its_steps_took_longer(run_dir: Path) -> None:
    run = read_timed_run(run_dir)
    with_checkpoints = replace(run, config=replace(run.config, loop=replace(run.config.loop, checkpoint_every=3)))
    late = list(run.wait_group)
    for after in (3, 6):  # versions 3 and 6 are saved before these steps begin, in 1.5 s
        late[after] = replace(late[after], start_s=late[after].start_s + 1.5)
    service = fit([replace(with_checkpoints, wait_group=late)]).service
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
