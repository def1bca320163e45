"""Which versions an engine keeps; that so many places suffice is shown in tests/test_loop_schedules.py."""

from __future__ import annotations

import pytest

from fundus_ray.errors import DeliveryError
from fundus_ray.policy.live_versions import LiveVersions
from fundus_ray.types import PolicyVersion


def version(step: int, sha256: str = "a" * 64) -> PolicyVersion:
    return PolicyVersion(step=step, sha256=sha256)


def test_an_older_version_goes_when_a_newer_one_is_served_and_its_last_request_has_ended() -> None:
    versions = LiveVersions(3, worker="rollout-0")
    versions.arrive(version(0))
    versions.serve(version(0))
    with versions.lease(version(0)):
        with versions.lease(version(0)):
            versions.arrive(version(1))
            assert versions.retire() == []
            versions.serve(version(1))
            assert versions.retire() == []
        assert versions.retire() == []  # one request still runs under it
    assert versions.retire() == [version(0)]
    assert versions.held == (version(1),)


def test_a_version_that_arrived_and_is_not_served_yet_stays() -> None:
    versions = LiveVersions(3, worker="rollout-0")
    for step in (0, 1):
        versions.arrive(version(step))
    versions.serve(version(0))
    assert versions.retire() == []
    versions.arrive(version(2))
    versions.serve(version(2))
    assert versions.retire() == [version(0), version(1)]  # version 1 was never asked for


def test_an_earlier_version_may_arrive_later_and_the_last_one_then_goes() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    for step in (40, 10, 20):  # a run's last version, then its checkpoints
        versions.arrive(version(step))
        versions.serve(version(step))
        versions.retire()
        assert versions.held == (version(step),)


def test_no_place_is_an_error_that_says_what_is_in_use_and_what_to_do() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    versions.arrive(version(4))
    versions.serve(version(4))
    versions.arrive(version(5))
    with (
        versions.lease(version(4)),
        pytest.raises(
            DeliveryError, match=r"rollout-0: no place for policy version 6; all 2 .* 4: 1, 5: 0\).*max_loras"
        ),
    ):
        versions.arrive(version(6))
    versions.arrive(version(5))  # once more, as after a delivery that was broken off: it has its place


def test_a_version_that_is_not_here_is_neither_served_nor_leased() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    with pytest.raises(DeliveryError, match="rollout-0: asked for policy version 0 but holds none"):
        versions.serve(version(0))
    versions.arrive(version(1))
    versions.serve(version(1))
    with pytest.raises(DeliveryError, match="asked for policy version 0 but holds 1"), versions.lease(version(0)):
        pass


def test_a_request_that_fails_gives_its_version_back() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    versions.arrive(version(0))
    versions.serve(version(0))
    versions.arrive(version(1))
    versions.serve(version(1))
    with pytest.raises(KeyError), versions.lease(version(0)):
        raise KeyError
    assert versions.retire() == [version(0)]


def test_a_step_that_is_made_anew_with_other_weights_is_another_version() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    versions.arrive(version(5))
    versions.serve(version(5))
    again = version(5, "b" * 64)
    with pytest.raises(DeliveryError, match=r"asked for policy version 5 \(bbbbbbbb\) but holds 5 \(aaaaaaaa\)"):
        versions.serve(again)
    with versions.lease(version(5)):
        versions.arrive(again)
        versions.serve(again)
        assert versions.retire() == []
    assert versions.retire() == [version(5)]
    assert versions.held == (again,)


def test_a_version_that_comes_back_takes_the_place_of_those_that_came_after_it() -> None:
    versions = LiveVersions(2, worker="rollout-0")
    for step in (6, 7):
        versions.arrive(version(step))
    versions.serve(version(7))
    with versions.lease(version(6)):
        pass
    versions.arrive(version(6))  # as after a learner was restored
    versions.serve(version(6))
    assert versions.retire() == [version(7)]
    assert versions.held == (version(6),)
