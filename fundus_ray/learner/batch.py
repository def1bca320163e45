"""From scored groups to the learner's batch, with the last check of how old they are.

In: trainable scored groups. Out: `TrainBatch`, right-padded rows of prompt + completion in the groups' order; and its
parts by rows or by whole groups. NumPy only. Shapes as in types.py: N rollouts, T = longest prompt + completion.

Every group has one image and one entry in `images`, so `image_index` also numbers the groups: 0, 0, ..., 1, 1, ...
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fundus_ray.errors import StalenessError
from fundus_ray.types import Rollout, ScoredGroup, TrainBatch

PAD_ID = 0  # never read: rows are cut at seq_lens and attention is causal


def pack(groups: Sequence[ScoredGroup], *, policy_step: int, max_lag: int) -> TrainBatch:
    """The batch that updates version `policy_step`.

    Raises StalenessError where a rollout's lag (policy_step - version that wrote it) is not in 0..max_lag, ValueError
    where a group cannot be trained on (marked untrainable, log-probabilities that do not match its tokens, a reward
    that is not finite).
    """
    if not groups:
        raise ValueError("a batch needs at least one group")
    for scored in groups:
        _check_whole(scored)
    _check_lags(groups, policy_step=policy_step, max_lag=max_lag)
    rows = [(g.group.prompt_token_ids, s.rollout) for g in groups for s in g.scored]
    token_ids, behaviour = _padded(rows)
    group_of_row = np.repeat(np.arange(len(groups)), [len(g.scored) for g in groups])
    return TrainBatch(
        token_ids=token_ids,
        prompt_lens=np.array([len(prompt) for prompt, _ in rows], dtype=np.int64),
        seq_lens=np.array([len(prompt) + len(r.token_ids) for prompt, r in rows], dtype=np.int64),
        behaviour_logprobs=behaviour,
        rewards=np.array([s.total for g in groups for s in g.scored], dtype=np.float64),
        policy_steps=np.array([r.policy.step for _, r in rows], dtype=np.int64),
        image_index=group_of_row.astype(np.int64),
        images=tuple(g.group.prompt.sample.image for g in groups),
        policy_step=policy_step,
    )


def completion_tokens(batch: TrainBatch) -> int:
    """Completion tokens of all rows: what the loss is a mean over."""
    return int((batch.seq_lens - batch.prompt_lens).sum())


def select_rows(batch: TrainBatch, rows: Sequence[int] | NDArray[np.int64]) -> TrainBatch:
    """These rows in this order, padding cut to the longest, images to those in use (in their old order)."""
    index = np.asarray(rows, dtype=np.int64)
    if index.size == 0:
        raise ValueError("no rows to select")
    used, image_index = np.unique(batch.image_index[index], return_inverse=True)
    longest = int(batch.seq_lens[index].max())
    return dataclasses.replace(
        batch,
        token_ids=batch.token_ids[index, :longest],
        prompt_lens=batch.prompt_lens[index],
        seq_lens=batch.seq_lens[index],
        behaviour_logprobs=batch.behaviour_logprobs[index, :longest],
        rewards=batch.rewards[index],
        policy_steps=batch.policy_steps[index],
        image_index=image_index.astype(np.int64),
        images=tuple(batch.images[i] for i in used),
    )


def split_groups(batch: TrainBatch, parts: int) -> list[tuple[NDArray[np.int64], TrainBatch]]:
    """Mini-batches of whole groups in order, their numbers of groups differing by at most one, each with the numbers of
    its rows in `batch`.

    Raises ValueError where there are fewer groups than parts.
    """
    if not 1 <= parts <= len(batch.images):
        raise ValueError(f"cannot split {len(batch.images)} groups into {parts} mini-batches of whole groups")
    shares = np.array_split(np.arange(len(batch.images)), parts)
    rows = [np.flatnonzero(np.isin(batch.image_index, share)) for share in shares]
    return [(own, select_rows(batch, own)) for own in rows]


def micro_batches(batch: TrainBatch, *, tokens: int) -> list[tuple[NDArray[np.int64], TrainBatch]]:
    """Whole groups in order, as many as have at most `tokens` packed tokens, each with the numbers of its rows in
    `batch`. A group of more than that goes alone."""
    part_of_row = pass_of_group(group_tokens(batch), tokens=tokens)[batch.image_index]
    rows = [np.flatnonzero(part_of_row == part) for part in range(part_of_row[-1] + 1)]
    return [(own, select_rows(batch, own)) for own in rows]


def group_tokens(batch: TrainBatch) -> NDArray[np.int64]:
    """[G] packed tokens of each group: its prompt counts once."""
    first = np.unique(batch.image_index, return_index=True)[1]
    completions = np.bincount(
        batch.image_index, weights=batch.seq_lens - batch.prompt_lens, minlength=len(first)
    ).astype(np.int64)
    return batch.prompt_lens[first] + completions


def pass_of_group(size: NDArray[np.int64], *, tokens: int) -> NDArray[np.int64]:
    """[G] number of the pass that each group goes in: 0, 0, ..., 1, 1, ..., at most `tokens` of `size` [G] together."""
    part_of_group, held = np.zeros(len(size), dtype=np.int64), 0
    for group, own in enumerate(size.tolist()):
        full = group > 0 and held + own > tokens
        part_of_group[group] = part_of_group[group - 1] + full if group else 0
        held = own if full else held + own
    return part_of_group


def _padded(
    rows: Sequence[tuple[tuple[int, ...], Rollout]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Token ids and behaviour log-probabilities, both [N, T]."""
    longest = max(len(prompt) + len(r.token_ids) for prompt, r in rows)
    token_ids = np.full((len(rows), longest), PAD_ID, dtype=np.int64)
    behaviour = np.zeros((len(rows), longest), dtype=np.float32)
    for i, (prompt, rollout) in enumerate(rows):
        end = len(prompt) + len(rollout.token_ids)
        token_ids[i, :end] = (*prompt, *rollout.token_ids)
        behaviour[i, len(prompt) : end] = rollout.logprobs
    return token_ids, behaviour


def _check_whole(scored: ScoredGroup) -> None:
    where = f"group {scored.group.prompt.group_id} of {scored.group.worker}"
    if not scored.trainable:
        raise ValueError(f"{where} is marked as dropped ({scored.drop_reason}) and cannot be trained on")
    if not scored.scored:
        raise ValueError(f"{where} has no rollouts")
    for i, (rollout, total) in enumerate((s.rollout, s.total) for s in scored.scored):
        if len(rollout.token_ids) != len(rollout.logprobs):
            raise ValueError(
                f"{where}: rollout {i} has {len(rollout.token_ids)} tokens, {len(rollout.logprobs)} log-probabilities"
            )
        if not np.isfinite(rollout.logprobs).all():
            raise ValueError(f"{where}: rollout {i} has a behaviour log-probability that is not finite")
        if not math.isfinite(total):
            raise ValueError(f"{where}: rollout {i} has the reward {total}, which is not finite")


def _check_lags(groups: Sequence[ScoredGroup], *, policy_step: int, max_lag: int) -> None:
    lags = Counter(policy_step - s.rollout.policy.step for g in groups for s in g.scored)
    if all(0 <= lag <= max_lag for lag in lags):
        return
    bad = [
        f"group {g.group.prompt.group_id} of {g.group.worker} by version {s.rollout.policy.step}"
        for g in groups
        for s in g.scored
        if not 0 <= policy_step - s.rollout.policy.step <= max_lag
    ]
    histogram = ", ".join(f"lag {lag}: {lags[lag]}" for lag in sorted(lags))
    raise StalenessError(
        f"{len(bad)} of {lags.total()} rollouts are outside lag 0..{max_lag} for the update of version {policy_step} "
        f"({histogram}); first: {bad[0]}"
    )
