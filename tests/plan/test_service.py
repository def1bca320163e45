from __future__ import annotations

import statistics

import pytest

from fundus_ray.errors import ConfigError
from fundus_ray.plan.service import Service, engine_speed, made_lengths, spread


def test_a_mean_alone_is_one_value() -> None:
    assert spread("1.5", option="--update-s") == (1.5,)
    assert spread("2:0", option="--update-s") == (2.0,)


def test_a_spread_has_the_stated_mean_and_nearly_the_stated_deviation() -> None:
    values = spread("100:50", option="--tokens")
    assert statistics.fmean(values) == pytest.approx(100)
    assert statistics.pstdev(values) == pytest.approx(50, rel=0.06)
    # Median of a log-normal: mean / sqrt(1 + (s / m)^2) = 100 / sqrt(1.25).
    assert statistics.median(values) == pytest.approx(100 / 1.25**0.5, rel=0.02)


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "-1", "1:-1", "nan", "inf", "0:1"])
def test_what_is_no_spread_is_refused_by_option_and_value(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--sync-s {text}"):
        spread(text, option="--sync-s")


def test_two_rates_give_the_engines_two_numbers() -> None:
    speed = engine_speed("50,1000", max_seqs=100, prompt_s=0.25)
    assert speed.tokens_per_s(1) == pytest.approx(50)
    assert speed.tokens_per_s(100) == pytest.approx(1000)
    assert speed.prompt_s == 0.25
    assert engine_speed("50,50", max_seqs=1, prompt_s=0.0).tokens_per_s(1) == pytest.approx(50)


@pytest.mark.parametrize("text", ["50", "50,x", "0,10", "50,5001", "50,49", "50,inf"])
def test_rates_that_no_engine_has_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--tokens-per-s {text}"):
        engine_speed(text, max_seqs=100, prompt_s=0.0)


def test_made_lengths_are_whole_tokens_cut_at_the_longest() -> None:
    groups = made_lengths((0.2, 7.4, 900.0), group_size=4, max_tokens=64, seed=0)
    assert {len(group) for group in groups} == {4}
    assert {length for group in groups for length in group} == {1, 7, 64}


def test_other_lengths_make_updates_and_scores_longer_as_their_tokens_grow() -> None:
    service = Service(
        lengths=((10, 20), (30, 20)),
        engine=engine_speed("50,50", max_seqs=1, prompt_s=0.0),
        score_s=(0.5,),
        score_least_s=0.25,
        update_s=(1.0, 2.0),
        publish_s=(0.1,),
        deliver_idle_s=(0.1,),
        deliver_busy_s=(0.2,),
        overhead_s=(0.0,),
    )
    longer = service.with_lengths(((60, 60),))  # 120 tokens a group in place of 40
    assert longer.update_s == pytest.approx((3.0, 6.0))
    assert longer.score_s == pytest.approx((1.5,))
    assert longer.publish_s == (0.1,)
    assert longer.summary()["tokens_a_rollout"] == 60.0
