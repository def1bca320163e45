"""Groups over ranks: nothing lost, nothing twice, evenly by tokens; bounds checked against the best division."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fundus_ray.learner.batch import group_tokens
from fundus_ray.learner.shares import even_groups, share_of
from fundus_ray.types import ImageRef, TrainBatch


def batch_of(lengths: list[list[int]], *, prompt: int = 10) -> TrainBatch:
    """A group a list, of completions of these lengths."""
    own = np.array([n for group in lengths for n in group])
    token_ids = np.arange(len(own) * (prompt + own.max())).reshape(len(own), -1)
    return TrainBatch(
        token_ids=token_ids,
        prompt_lens=np.full(len(own), prompt),
        seq_lens=prompt + own,
        behaviour_logprobs=np.zeros(token_ids.shape, dtype=np.float32),
        rewards=np.zeros(len(own)),
        policy_steps=np.zeros(len(own), dtype=np.int64),
        image_index=np.repeat(np.arange(len(lengths)), [len(group) for group in lengths]),
        images=tuple(ImageRef(f"{i}.png", str(i), 28, 28) for i in range(len(lengths))),
        policy_step=0,
    )


def test_the_longest_goes_first_to_who_has_least() -> None:
    parts = even_groups(np.array([3, 9, 4, 7, 5]), parts=2)
    # 9 | 7; 5 to the second: 12; 4 to the first: 13; 3 to the second: 15.
    assert [part.tolist() for part in parts] == [[1, 2], [0, 3, 4]]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_no_part_is_larger_than_grahams_bound_on_the_best_division(parts: int) -> None:
    rng = np.random.default_rng(parts)
    for _ in range(60):
        size = rng.integers(1, 100, rng.integers(1, 8))
        found = even_groups(size, parts=parts)
        assert sorted(itertools.chain(*(part.tolist() for part in found))) == list(range(len(size)))
        loads = [int(size[part].sum()) for part in found]
        best = min(
            max(sum(int(s) for s, own in zip(size, choice, strict=True) if own == part) for part in range(parts))
            for choice in itertools.product(range(parts), repeat=len(size))
        )
        assert max(loads) <= (4 / 3 - 1 / (3 * parts)) * best + 1e-9
        assert max(loads) - min(loads) <= size.max()


def test_every_row_is_in_one_share_and_all_ranks_know_how_many_passes_there_are() -> None:
    batch = batch_of([[5, 5], [30, 31], [7], [2, 3, 4], [40]])
    assert group_tokens(batch).tolist() == [20, 71, 17, 19, 50]
    shares = [share_of(batch, rank=rank, ranks=2, tokens=40) for rank in range(2)]
    # By tokens 71 | 50, 20 -> 70, 19 -> 89, 17 -> 88; in passes of 40: [71], [17] and [20, 19], [50].
    rows = [[own.tolist() for own, _ in share.passes] for share in shares]
    assert rows == [[[2, 3], [4]], [[0, 1, 5, 6, 7], [8]]]
    assert [share.missing for share in shares] == [0, 0]
    assert [share.balance for share in shares] == [pytest.approx(177 / (2 * 89))] * 2
    for share in shares:
        for own, part in share.passes:
            assert part.token_ids.tolist() == batch.token_ids[own, : part.token_ids.shape[1]].tolist()


def test_a_rank_with_fewer_passes_knows_how_many_it_lacks() -> None:
    batch = batch_of([[90], [10], [10], [10], [10], [10]])  # 100 | 20, 20, 20, 20, 20 of 40 a pass
    shares = [share_of(batch, rank=rank, ranks=2, tokens=40) for rank in range(2)]
    assert [(len(share.passes), share.missing) for share in shares] == [(1, 2), (3, 0)]


def test_a_rank_may_have_nothing() -> None:
    batch = batch_of([[4, 5]])
    shares = [share_of(batch, rank=rank, ranks=3, tokens=40) for rank in range(3)]
    assert [(len(share.passes), share.missing) for share in shares] == [(1, 0), (0, 1), (0, 1)]
    assert shares[0].balance == pytest.approx(1 / 3)


def test_one_rank_has_all_in_order() -> None:
    batch = batch_of([[5, 5], [30, 31], [7]])
    share = share_of(batch, rank=0, ranks=1, tokens=10_000)
    ((rows, part),) = share.passes
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert part.images == batch.images
    assert (share.missing, share.balance) == (0, 1.0)
