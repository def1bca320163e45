"""Who may pass whom: small cases counted by hand. The bound itself is tested with the buffer, on random schedules."""

from __future__ import annotations

from fundus_ray.rollout.lookahead import Lookahead


def test_a_whole_ratio_leaves_no_room_in_a_full_buffer_until_a_group_is_dropped() -> None:
    # P = 2, lag <= 1: 4 slots. Groups a, b are admitted in step 0 and due in step 1 like c, d: step 0 takes any two.
    order = Lookahead(window=9, groups_per_step=2, max_lag=1)
    assert [order.admit() for _ in range(4)] == [1, 1, 1, 1]
    assert order.may_pass(1)
    order.take(1)
    order.take(1)
    order.end_step()
    assert [order.admit() for _ in range(2)] == [2, 2]
    # Step 1: two groups are due now and there are two places, so nobody younger may pass them.
    assert not order.may_pass(2)
    order.drop(1)
    assert order.admit() == 2
    assert order.may_pass(2)  # one is due now, one place is left besides
    order.take(2)
    assert not order.may_pass(2)  # the last place is for the one that is due


def test_a_ratio_below_its_bound_leaves_room_for_the_rest_of_the_batch() -> None:
    # r = 0.5, P = 4: 6 slots, lag <= 1.
    order = Lookahead(window=9, groups_per_step=4, max_lag=1)
    for _ in range(6):
        order.admit()
    for _ in range(4):
        order.take(1)
    order.end_step()
    for _ in range(4):
        assert order.admit() == 2
    # Step 1: two of the four places are for the two groups that are due, two are free for younger ones.
    for _ in range(2):
        assert order.may_pass(2)
        order.take(2)
    assert not order.may_pass(2)


def test_what_is_due_in_a_later_step_needs_its_places_too() -> None:
    # P = 1, lag <= 2: 3 slots. Two groups are due by step 3, one admitted later by step 4.
    order = Lookahead(window=9, groups_per_step=1, max_lag=2)
    order.admit()
    order.take(2)
    order.end_step()
    assert [order.admit() for _ in range(3)] == [3, 3, 3]
    order.take(3)
    order.end_step()
    assert order.admit() == 4
    # Step 2: two due by step 3, and steps 2 and 3 have one place each: the place of step 2 cannot be given away.
    assert not order.may_pass(4)
    order.drop(3)
    assert order.may_pass(4)
