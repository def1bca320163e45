"""The simulator on service times that make every step computable by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fundus_ray.config import Config, load
from fundus_ray.plan.engine import EngineSpeed
from fundus_ray.plan.service import Service
from fundus_ray.plan.simulate import simulate, simulate_middle

# Eight iterations of 1/8 s: a group is written in 1 s, however many run beside it.
SERVICE = Service(
    lengths=((8, 8),),
    engine=EngineSpeed(iteration_s=0.125, sequence_s=0.0, prompt_s=0.0),
    score_s=(0.25,),
    score_least_s=0.0,
    update_s=(0.5,),
    publish_s=(0.125,),
    deliver_idle_s=(0.125,),
    deliver_busy_s=(0.375,),
    overhead_s=(0.5,),
)


def config(*overrides: str) -> Config:
    return load(None, ["loop.groups_per_step=2", "rollout.group_size=2", "loop.steps=3", *overrides])


def test_a_synchronous_step_is_the_sum_of_its_parts() -> None:
    out = simulate(config("loop.async_ratio=0"), SERVICE, seed=0)
    # 1 s written, 2 x 0.25 s scored, 2 x 0.5 s updated, 0.25 s published and delivered, 0.5 s of the driver.
    assert out.seconds == pytest.approx(3 * 3.25)
    assert out.groups_per_s == pytest.approx(2 / 3.25)
    assert out.samples_per_s == pytest.approx(4 / 3.25)
    # What the driver writes down of a step is time of the next: 2.75 s, then 3.25 s twice.
    assert out.learner_idle == pytest.approx(3 * 1.5 / 9.25)
    assert out.generator_idle == pytest.approx((9.25 - 3 * 1.0) / 9.25)
    assert out.lags == {0: 1.0}
    assert out.stage_s == pytest.approx(
        {"generate": 1.0, "score": 0.5, "update": 1.0, "publish": 0.125, "deliver": 0.125}
    )
    assert out.ceiling == pytest.approx(2.75 / 1.25)


def test_at_ratio_one_a_slow_learner_is_never_idle_and_trains_on_the_version_before() -> None:
    slow = replace(SERVICE, update_s=(2.0,))
    out = simulate_middle(config("loop.async_ratio=1"), slow, seed=0, steps=5)
    # 4 s updated, 0.25 s published and delivered to an idle engine, 0.5 s of the driver.
    assert out.seconds == pytest.approx(5 * 4.75)
    assert out.learner_idle == pytest.approx(0.0)
    assert out.lags == {1: 1.0}
    assert out.steps == 5


def test_a_whole_run_also_counts_the_steps_in_which_it_fills() -> None:
    slow = replace(SERVICE, update_s=(2.0,))
    out = simulate(config("loop.async_ratio=1"), slow, seed=0)
    assert out.seconds == pytest.approx(1.5 + 3 * 4.75)  # the first two groups are waited for
    assert out.lags == pytest.approx({0: 1 / 3, 1: 2 / 3})


def test_the_first_update_of_a_run_takes_longer_and_a_run_under_way_has_none() -> None:
    warming = replace(SERVICE, first_update_s=8.0)
    for settings in (config("loop.async_ratio=0"), config("loop.async_ratio=1")):
        whole, cold = (simulate(settings, service, seed=0).seconds for service in (SERVICE, warming))
        assert cold == pytest.approx(whole + 8.0)
    middle = (simulate_middle(config("loop.async_ratio=0"), service, seed=0, steps=3) for service in (SERVICE, warming))
    assert len({out.seconds for out in middle}) == 1


def test_an_engines_warming_up_delays_the_first_groups_alone() -> None:
    settings = config("loop.async_ratio=0")
    cold = simulate(settings, replace(SERVICE, engine_warm_up_s=6.0), seed=0)
    assert cold.seconds == pytest.approx(simulate(settings, SERVICE, seed=0).seconds + 6.0)


def test_a_delivery_is_one_draw_however_many_engines_there_are() -> None:
    # What is drawn is the time until the last engine has the version: 0.5 s on average, not the largest of 50 draws.
    spread = replace(SERVICE, deliver_idle_s=(0.0, 1.0), overhead_s=(0.0,))
    settings = ("loop.async_ratio=0", "loop.steps=100")
    one, many = (simulate(config(*settings, f"rollout.workers={n}"), spread, seed=0) for n in (1, 50))
    for out in (one, many):
        assert out.stage_s["deliver"] == pytest.approx(0.5, abs=0.15)


def test_a_delivery_counts_as_to_busy_engines_where_one_has_work() -> None:
    # Four workers, of which one writes 1,250 s while the others are done.
    times = replace(SERVICE, lengths=((8, 8), (8, 8), (8, 8), (8, 10_000)), deliver_busy_s=(40.0,))
    out = simulate(config("loop.async_ratio=4", "rollout.workers=4", "loop.steps=3"), times, seed=1)
    assert out.stage_s["deliver"] >= 40.0 / 3


def test_engines_and_reward_go_on_while_a_checkpoint_is_written() -> None:
    # 100 s of checkpoint at every step, and 10 s of writing, which is done by then.
    times = replace(SERVICE, lengths=((80,),), overhead_s=(0.0,), checkpoint_s=(100.0,))
    settings = ("loop.groups_per_step=1", "loop.async_ratio=1", "loop.checkpoint_every=1")
    out = simulate_middle(config(*settings), times, seed=0, steps=3)
    # 100 s, 0.5 s updated, 0.125 s published, 0.125 s delivered to an idle engine.
    assert out.seconds == pytest.approx(3 * 100.75)
    seldom = simulate_middle(config(*settings[:2], "loop.checkpoint_every=3"), times, seed=0, steps=3)
    assert 100.0 < seldom.seconds < 200.0


def test_workers_share_the_prompts() -> None:
    one_at_a_time = ("rollout.max_seqs=2", "loop.groups_per_step=4", "loop.async_ratio=0")
    alone = simulate(config(*one_at_a_time), SERVICE, seed=0)
    four = simulate(config(*one_at_a_time, "rollout.workers=4"), SERVICE, seed=0)
    # Alone: groups end at 1, 2, 3, 4 s, the last is scored at 4.25 s. By four: all at 1 s, scored at 2 s.
    assert alone.seconds - four.seconds == pytest.approx(3 * (4.25 - 2.0))


def test_a_driver_that_computes_hands_no_prompt_out() -> None:
    busy_driver = replace(SERVICE, overhead_s=(100.0,), update_s=(0.0,))
    out = simulate_middle(config("loop.async_ratio=0"), busy_driver, seed=0, steps=4)
    assert out.seconds == pytest.approx(4 * (100.0 + 1.5 + 0.25))


def test_groups_that_are_dropped_cost_time_and_are_not_counted() -> None:
    whole = simulate(config("loop.async_ratio=0", "loop.steps=40"), SERVICE, seed=0)
    half = simulate(config("loop.async_ratio=0", "loop.steps=40"), replace(SERVICE, drop_share=0.5), seed=0)
    assert half.groups_per_s < 0.9 * whole.groups_per_s
    assert half.lags == {0: 1.0}


def test_an_update_beside_working_engines_is_dragged_and_one_beside_idle_ones_is_not() -> None:
    drag = replace(SERVICE, learner_drag=1.0)
    assert simulate(config("loop.async_ratio=0"), drag, seed=0) == simulate(
        config("loop.async_ratio=0"), SERVICE, seed=0
    )
    # 10,000 tokens take 1,250 s, so that the engine works through each update of 2 x 0.5 s.
    long = simulate_middle(config("loop.async_ratio=1"), replace(drag, lengths=((8, 10_000),)), seed=0, steps=3)
    assert long.stage_s["update"] == pytest.approx(2.0)


def test_engines_are_dragged_while_the_learner_updates() -> None:
    # One worker, always at work: 1,000 s of writing a step, in 100 s of which it has half its pace.
    times = replace(SERVICE, lengths=((8000,),), update_s=(100.0,), engine_drag=1.0)
    limits = ("loop.groups_per_step=1", "rollout.max_seqs=1", "loop.async_ratio=2")
    out = simulate_middle(config(*limits), times, seed=0, steps=4)
    assert out.seconds / 4 == pytest.approx(1050.0)
    assert out.generator_idle == pytest.approx(0.0, abs=1e-6)


def test_a_seed_fixes_what_is_drawn() -> None:
    varied = replace(SERVICE, lengths=((8, 8), (4, 30), (20, 1)), update_s=(0.25, 0.5, 1.0))
    first, again, other = (simulate(config("loop.steps=8"), varied, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.seconds != other.seconds


def test_a_thousand_workers_are_simulated_and_keep_the_lag_bound() -> None:
    large = config("rollout.workers=1000", "loop.groups_per_step=500", "loop.async_ratio=1.5", "reward.workers=50")
    out = simulate_middle(large, SERVICE, seed=0, steps=3)
    assert max(out.lags) <= 2
    assert out.generator_idle > 0.5
