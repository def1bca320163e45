"""Which versions an engine keeps; that so many places suffice is shown in tests/test_loop_schedules.py."""

from __future__ import annotations

import pytest

from fundus_ray.errors import DeliveryError
from fundus_ray.policy.live_versions import LiveVersions


def test_an_older_version_goes_when_a_newer_one_is_served_and_its_last_request_has_ended() -> None:
    versions = LiveVersions(3, worker="rollout-0")
    versions.arrive(0)
    versions.serve(0)
    with versions.lease(0):
        with versions.lease(0):
            versions.arrive(1)
            assert versions.retire() == []
            versions.serve(1)
            assert versions.retire() == []
        assert versions.retire() == []  # one request still runs under it
    assert versions.retire() == [0]
    assert versions.held == (1,)


def test_a_version_that_arrived_and_is_not_served_yet_stays() -> None:
    versions = LiveVersions(3, worker="rollout-0")
    for step in (0, 1):
        versions.arrive(step)
    versions.serve(0)
    assert versions.retire() == []
    versions.arrive(2)
    versions.serve(2)
    assert versions.retire() == [0, 1]  # version 1 was never asked for


def test_an_earlier_version_may_arrive_later_and_the_last_one_then_goes() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    for step in (40, 10, 20):  # a run's last version, then its checkpoints
        versions.arrive(step)
        versions.serve(step)
        versions.retire()
        assert versions.held == (step,)


def test_no_place_is_an_error_that_says_what_is_in_use_and_what_to_do() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    versions.arrive(4)
    versions.serve(4)
    versions.arrive(5)
    with (
        versions.lease(4),
        pytest.raises(
            DeliveryError, match=r"rollout-0: no place for policy version 6; all 2 .* 4: 1, 5: 0\).*max_loras"
        ),
    ):
        versions.arrive(6)
    versions.arrive(5)  # once more, as after a delivery that was broken off: it has its place


def test_a_version_that_is_not_here_is_neither_served_nor_leased() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    with pytest.raises(DeliveryError, match="rollout-0: asked for policy version 0 but holds none"):
        versions.serve(0)
    versions.arrive(1)
    versions.serve(1)
    with pytest.raises(DeliveryError, match="asked for policy version 0 but holds 1"), versions.lease(0):
        pass


def test_a_request_that_fails_gives_its_version_back() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    versions.arrive(0)
    versions.serve(0)
    versions.arrive(1)
    versions.serve(1)
    with pytest.raises(KeyError), versions.lease(0):
        raise KeyError
    assert versions.retire() == [0]
