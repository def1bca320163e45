"""A step's metrics by hand, where test_loop.py does not reach: parts that do not apply, drops, lag, delivery."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_sample import SAMPLE, prompt

from fundus_ray.reward.health import health_metrics
from fundus_ray.step_metrics import delivery_metrics, dropped, lag_metrics, reward_metrics, step_metrics
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    RewardStatus,
    Rollout,
    RolloutGroup,
    ScoredGroup,
    ScoredRollout,
    TrainBatch,
)

VERSION = PolicyVersion(step=0, sha256="0")


def scored(
    total: float,
    grounding: float | None,
    *,
    tokens: int = 4,
    finish: str = "stop",
    status: RewardStatus = RewardStatus.SCORED,
) -> ScoredRollout:
    rollout = Rollout(
        token_ids=(1,) * tokens, logprobs=(-1.0,) * tokens, text="", finish_reason=finish, seed=0, policy=VERSION
    )
    return ScoredRollout(
        rollout=rollout,
        status=status,
        total=total,
        parts={"accuracy": total, "grounding": grounding},
        answer=None,
        findings=("drusen", "pallor")[: tokens // 4],
        claims=(),
        explanation=(),
        evidence=(),
        snapshot="",
    )


def group(*rollouts: ScoredRollout, drop_reason: str = "") -> ScoredGroup:
    return ScoredGroup(
        group=RolloutGroup(
            prompt=prompt(0),
            prompt_token_ids=(1,),
            rollouts=tuple(s.rollout for s in rollouts),
            worker="rollout-0",
            started_s=0.0,
            finished_s=0.0,
        ),
        scored=rollouts,
        trainable=not drop_reason,
        drop_reason=drop_reason,
        started_s=0.0,
        finished_s=0.0,
    )


def batch(*, policy_step: int, policy_steps: list[int]) -> TrainBatch:
    n = len(policy_steps)
    return TrainBatch(
        token_ids=np.zeros((n, 6), dtype=np.int64),
        prompt_lens=np.full(n, 2),
        seq_lens=np.full(n, 5),
        behaviour_logprobs=np.zeros((n, 6), dtype=np.float32),
        rewards=np.zeros(n),
        policy_steps=np.array(policy_steps),
        image_index=np.zeros(n, dtype=np.int64),
        images=(SAMPLE.image,),
        policy_step=policy_step,
    )


def test_part_that_does_not_apply_is_left_out_of_its_mean() -> None:
    flat = reward_metrics([group(scored(1.0, 0.5), scored(0.0, None))]).flat()
    assert flat["reward/grounding"] == 0.5
    assert flat["reward/accuracy"] == flat["reward/total"] == 0.5


def test_means_are_over_rollouts_of_dropped_groups_too_but_not_of_unscorable_ones() -> None:
    down = scored(0.0, None, tokens=100, status=RewardStatus.UNSCORABLE)
    flat = reward_metrics(
        [
            group(scored(1.0, 1.0), scored(0.0, 0.0, tokens=8, finish="length")),
            group(scored(1.0, 1.0), scored(1.0, 1.0), drop_reason="no_spread"),
            group(down, down, drop_reason="unscorable"),
        ]
    ).flat()
    assert flat == pytest.approx(
        {
            "reward/total": 0.75,
            "reward/accuracy": 0.75,
            "reward/grounding": 0.75,
            "reward/finding_count": 1.25,
            "completion/tokens_mean": 5.0,
            "completion/cut_share": 0.25,
        }
    )


def test_unparseable_rollouts_count_as_the_zero_that_they_are() -> None:
    bad = scored(0.0, 0.0, status=RewardStatus.UNPARSEABLE)
    assert reward_metrics([group(scored(1.0, 1.0), bad)]).flat()["reward/total"] == 0.5


def test_rounding_is_not_spread() -> None:
    flat = health_metrics([group(scored(0.3, None), scored(0.1 + 0.2, None))]).flat()
    assert flat["health/no_signal_share"] == 1.0


def test_lag_counts_rollouts_by_version() -> None:
    assert lag_metrics(batch(policy_step=5, policy_steps=[5, 5, 4, 2])).flat() == {
        "lag/mean": 1.0,
        "lag/max": 3.0,
        "lag/hist_0": 2.0,
        "lag/hist_1": 1.0,
        "lag/hist_3": 1.0,
        "off_policy_share": 0.5,
    }


def test_delivery_shows_the_worst_engine() -> None:
    proofs = [
        DeliveryProof(worker=w, version=VERSION, sha256="0", listed=True, probe_error=e, probe_shift=None, seconds=s)
        for w, e, s in (("a", 1e-5, 0.2), ("b", 3e-5, 0.1))
    ]
    assert delivery_metrics(proofs).flat() == {
        "delivery/probe_error": 3e-5,
        "delivery/seconds": 0.2,
        "delivery/proven": 2.0,
    }


def test_drops_are_counted_by_reason() -> None:
    taken = [group(scored(1.0, 1.0), drop_reason=r) for r in ("no_spread", "", "unscorable", "no_spread")]
    assert dropped(taken) == {"no_spread": 2, "unscorable": 1}


def test_step_joins_all_and_its_own_rate_wins() -> None:
    metrics = step_metrics(
        [group(scored(1.0, 1.0), scored(0.0, 0.0))],
        batch=batch(policy_step=1, policy_steps=[1, 0]),
        learner={"loss": 0.25, "tokens_per_s": -1.0},
        proofs=[],
        times={"time/step": 2.0, "idle/learner": 0.5},
    )
    assert (metrics["loss"], metrics["idle/learner"], metrics["lag/mean"]) == (0.25, 0.5, 0.5)
    assert metrics["tokens_per_s"] == 3.0  # two rows of three completion tokens in two seconds
    assert not any(math.isnan(value) for value in metrics.values())
