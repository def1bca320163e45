from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from fundus_ray.rollout.balance import Balance


def test_the_worker_with_the_fewest_calls_is_next_and_among_equals_the_one_used_longest_ago() -> None:
    balance = Balance(3)
    with ExitStack() as first, ExitStack() as others:
        assert first.enter_context(balance.lease()) == 0
        assert [others.enter_context(balance.lease()) for _ in range(4)] == [1, 2, 0, 1]
        first.close()  # worker 0 has one call left, as worker 2, which was used before it
        assert [others.enter_context(balance.lease()) for _ in range(2)] == [2, 0]


def test_a_call_that_fails_frees_its_worker() -> None:
    balance = Balance(2)
    with pytest.raises(KeyError), balance.lease():
        raise KeyError
    with balance.lease() as second, balance.lease() as third:
        assert (second, third) == (1, 0)


def test_any_order_of_leases_and_ends_picks_as_a_search_over_all_workers_does() -> None:
    chance = random.Random(0)
    for workers in (1, 2, 7, 40):
        balance, under_way, last_use = Balance(workers), [0] * workers, [0] * workers
        open_leases: list[tuple[ExitStack, int]] = []
        for use in range(1, 600):
            if open_leases and chance.random() < 0.48:
                lease, index = open_leases.pop(chance.randrange(len(open_leases)))
                lease.close()
                under_way[index] -= 1
                continue
            expected = min(range(workers), key=lambda i: (under_way[i], last_use[i]))
            lease = ExitStack()
            assert lease.enter_context(balance.lease()) == expected
            open_leases.append((lease, expected))
            under_way[expected] += 1
            last_use[expected] = use


def test_no_call_goes_to_a_worker_that_left_until_a_new_one_is_in_its_place() -> None:
    balance = Balance(2)
    with ExitStack() as old, ExitStack() as others:
        assert old.enter_context(balance.lease()) == 0
        balance.leave(0)
        assert balance.here == {1}
        assert [others.enter_context(balance.lease()) for _ in range(3)] == [1, 1, 1]
        balance.join(0)
        old.close()  # a call of the one that left: the new one has nothing under way, not minus one call
        assert [others.enter_context(balance.lease()) for _ in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_kept_does_not_grow_with_the_calls_that_have_ended(workers: int) -> None:
    balance = Balance(workers)
    under_way = [balance.lease() for _ in range(4 * workers)]
    for lease in under_way:
        lease.__enter__()
    for call in range(10_000):  # the number under way never falls to what it was before
        under_way.append(balance.lease())
        under_way[-1].__enter__()
        under_way[call].__exit__(None, None, None)
    assert len(balance._heap) <= 64 + 4 * workers


def test_no_worker_at_all_is_an_error() -> None:
    balance = Balance(1)
    balance.leave(0)
    with pytest.raises(LookupError, match="no worker is here"), balance.lease():
        pass
