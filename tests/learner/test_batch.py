"""Packing by hand: two groups of two rollouts with different lengths."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from plain_sample import SAMPLE

from fundus_ray.errors import StalenessError
from fundus_ray.learner.batch import completion_tokens, micro_batches, pack, select_rows, split_groups
from fundus_ray.types import (
    ImageRef,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    ScoredGroup,
    ScoredRollout,
)


def rollout(tokens: tuple[int, ...], *, version: int) -> Rollout:
    return Rollout(
        token_ids=tokens,
        logprobs=tuple(-t / 100 for t in tokens),
        text="",
        finish_reason="stop",
        seed=0,
        policy=PolicyVersion(step=version, sha256="0"),
    )


def group(
    group_id: int,
    *,
    prompt: tuple[int, ...],
    completions: list[tuple[int, ...]],
    rewards: list[float],
    version: int = 0,
) -> ScoredGroup:
    image = ImageRef(path=f"{group_id}.png", sha256=str(group_id), width_px=28, height_px=28)
    sample = dataclasses.replace(SAMPLE, id=str(group_id), image=image)
    rollouts = tuple(rollout(c, version=version) for c in completions)
    scored = tuple(
        ScoredRollout(
            rollout=r,
            status=RewardStatus.SCORED,
            total=total,
            parts={},
            answer=None,
            findings=(),
            claims=(),
            explanation=(),
            evidence=(),
            snapshot="",
        )
        for r, total in zip(rollouts, rewards, strict=True)
    )
    return ScoredGroup(
        group=RolloutGroup(
            prompt=Prompt(sample=sample, system="", user="", group_id=group_id, seed=0),
            prompt_token_ids=prompt,
            rollouts=rollouts,
            worker="rollout-0",
            started_s=0.0,
            finished_s=1.0,
        ),
        scored=scored,
        trainable=True,
        drop_reason="",
        started_s=1.0,
        finished_s=2.0,
    )


FIRST = group(10, prompt=(1, 2), completions=[(11, 12, 13), (14,)], rewards=[1.0, 0.0], version=3)
SECOND = group(11, prompt=(3, 4, 5), completions=[(15,), (16, 17)], rewards=[0.5, 0.5], version=4)


def test_rows_are_prompt_then_completion_padded_on_the_right() -> None:
    batch = pack([FIRST, SECOND], policy_step=4, max_lag=1)
    assert batch.token_ids.tolist() == [
        [1, 2, 11, 12, 13],
        [1, 2, 14, 0, 0],
        [3, 4, 5, 15, 0],
        [3, 4, 5, 16, 17],
    ]
    assert batch.prompt_lens.tolist() == [2, 2, 3, 3]
    assert batch.seq_lens.tolist() == [5, 3, 4, 5]
    np.testing.assert_allclose(
        batch.behaviour_logprobs,
        [[0, 0, -0.11, -0.12, -0.13], [0, 0, -0.14, 0, 0], [0, 0, 0, -0.15, 0], [0, 0, 0, -0.16, -0.17]],
        rtol=1e-6,
    )
    assert batch.rewards.tolist() == [1.0, 0.0, 0.5, 0.5]
    assert batch.policy_steps.tolist() == [3, 3, 4, 4]
    assert batch.image_index.tolist() == [0, 0, 1, 1]
    assert [image.path for image in batch.images] == ["10.png", "11.png"]
    assert batch.policy_step == 4
    assert completion_tokens(batch) == 7


def test_arrays_have_the_types_of_the_record() -> None:
    batch = pack([FIRST, SECOND], policy_step=4, max_lag=1)
    ints = (batch.token_ids, batch.prompt_lens, batch.seq_lens, batch.policy_steps, batch.image_index)
    assert {a.dtype for a in ints} == {np.dtype(np.int64)}
    assert batch.behaviour_logprobs.dtype == np.dtype(np.float32)
    assert batch.rewards.dtype == np.dtype(np.float64)


def test_group_older_than_the_bound_is_refused_with_all_numbers() -> None:
    with pytest.raises(StalenessError) as caught:
        pack([FIRST, SECOND], policy_step=5, max_lag=1)
    assert str(caught.value) == (
        "2 of 4 rollouts are outside lag 0..1 for the update of version 5 (lag 1: 2, lag 2: 2); "
        "first: group 10 of rollout-0 by version 3"
    )


def test_group_from_a_version_that_does_not_exist_yet_is_refused() -> None:
    with pytest.raises(StalenessError, match=r"lag -1: 2, lag 0: 2.*group 11 of rollout-0 by version 4"):
        pack([FIRST, SECOND], policy_step=3, max_lag=1)


def test_lag_equal_to_the_bound_is_accepted() -> None:
    assert pack([FIRST, SECOND], policy_step=5, max_lag=2).policy_steps.tolist() == [3, 3, 4, 4]


def test_dropped_group_is_refused() -> None:
    dropped = dataclasses.replace(FIRST, trainable=False, drop_reason="no_spread")
    with pytest.raises(ValueError, match=r"group 10 .*no_spread"):
        pack([dropped], policy_step=4, max_lag=1)


def test_tokens_without_their_logprobs_are_refused() -> None:
    short = dataclasses.replace(FIRST.scored[0].rollout, logprobs=(-0.1,))
    broken = dataclasses.replace(FIRST, scored=(dataclasses.replace(FIRST.scored[0], rollout=short),))
    with pytest.raises(ValueError, match="3 tokens, 1 log-probabilities"):
        pack([broken], policy_step=4, max_lag=1)


def test_reward_that_is_not_finite_is_refused_with_its_group() -> None:
    broken = group(10, prompt=(1,), completions=[(2,), (3,)], rewards=[1.0, math.nan], version=4)
    with pytest.raises(ValueError, match="group 10 of rollout-0: rollout 1 has the reward nan, which is not finite"):
        pack([broken], policy_step=4, max_lag=1)


def test_selected_rows_lose_unused_padding_and_images() -> None:
    part = select_rows(pack([FIRST, SECOND], policy_step=4, max_lag=1), [2, 1])
    assert part.token_ids.tolist() == [[3, 4, 5, 15], [1, 2, 14, 0]]
    assert part.image_index.tolist() == [1, 0]
    only_second = select_rows(pack([FIRST, SECOND], policy_step=4, max_lag=1), [3])
    assert [image.path for image in only_second.images] == ["11.png"]
    assert only_second.image_index.tolist() == [0]
    assert only_second.rewards.tolist() == [0.5]


def test_mini_batches_hold_whole_groups_and_lose_none() -> None:
    groups = [group(i, prompt=(i,), completions=[(1,), (2,)], rewards=[0.0, 1.0]) for i in range(5)]
    split = split_groups(pack(groups, policy_step=0, max_lag=0), 2)
    assert [rows.tolist() for rows, _ in split] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    parts = [part for _, part in split]
    assert [[image.path for image in part.images] for part in parts] == [
        ["0.png", "1.png", "2.png"],
        ["3.png", "4.png"],
    ]
    assert [part.token_ids[:, 0].tolist() for part in parts] == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4]]
    assert parts[1].image_index.tolist() == [0, 0, 1, 1]


def test_more_mini_batches_than_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="2 groups into 3"):
        split_groups(pack([FIRST, SECOND], policy_step=4, max_lag=1), 3)


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        # Packed tokens: 2 + 3 + 1 = 6, 3 + 1 + 2 = 6, 2 + 4 = 6, 2 + 9 = 11 and 2 + 1 = 3.
        (12, [[0, 1, 2, 3], [4], [5], [6]]),
        (18, [[0, 1, 2, 3, 4], [5, 6]]),
        (1, [[0, 1], [2, 3], [4], [5], [6]]),  # each is longer than that, and goes alone
        (100, [[0, 1, 2, 3, 4, 5, 6]]),
    ],
)
def test_micro_batches_hold_whole_groups_up_to_a_number_of_tokens(tokens: int, parts: list[list[int]]) -> None:
    more = [group(20 + n, prompt=(1, 2), completions=[(9,) * n], rewards=[1.0], version=4) for n in (4, 9, 1)]
    batch = pack([FIRST, SECOND, *more], policy_step=4, max_lag=1)
    found = micro_batches(batch, tokens=tokens)
    assert [rows.tolist() for rows, _ in found] == parts
    for rows, micro in found:
        assert micro.seq_lens.tolist() == batch.seq_lens[rows].tolist()
        assert [micro.images[i] for i in micro.image_index] == [batch.images[i] for i in batch.image_index[rows]]
