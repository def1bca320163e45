"""What counts as a proven delivery."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fundus_ray.errors import DeliveryError
from fundus_ray.rollout.delivery import check_proofs
from fundus_ray.types import DeliveryProof, PolicyVersion

VERSION = PolicyVersion(step=3, sha256="a" * 64)
ENGINES = ("rollout-0", "rollout-1")


def proof(worker: str, **changed: Any) -> DeliveryProof:
    values: dict[str, Any] = {
        "version": VERSION,
        "sha256": VERSION.sha256,
        "listed": True,
        "probe_error": 1e-6,
        "probe_shift": None,
        "seconds": 0.1,
    }
    return DeliveryProof(worker=worker, **{**values, **changed})


def test_matching_proofs_of_all_engines_pass() -> None:
    check_proofs(VERSION, [proof("rollout-1"), proof("rollout-0")], engines=ENGINES, tolerance=1e-3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sha256": "b" * 64}, "rollout-1: read back sha256 bbbbbbbbbbbb, expected aaaaaaaaaaaa"),
        ({"listed": False}, "rollout-1: its adapter is not in the engine's own list"),
        ({"probe_error": 0.02}, r"rollout-1: probe differs from the learner by 0\.02 nats, allowed 0\.001"),
        ({"probe_error": math.nan}, "rollout-1: probe differs from the learner by nan nats"),
        ({"version": PolicyVersion(step=2, sha256="c" * 64)}, r"rollout-1: answers for version 2 \(cccccccccccc\)"),
    ],
)
def test_engine_that_does_not_prove_it_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DeliveryError, match=f"policy version 3 is not proven to be live: {said}"):
        check_proofs(VERSION, [proof("rollout-0"), proof("rollout-1", **changed)], engines=ENGINES, tolerance=1e-3)


def test_all_faults_are_in_one_error() -> None:
    proofs = [proof("rollout-0", listed=False), proof("rollout-1", probe_error=1.0)]
    with pytest.raises(DeliveryError, match=r"rollout-0: its adapter .*; rollout-1: probe"):
        check_proofs(VERSION, proofs, engines=ENGINES, tolerance=1e-3)


def test_engine_without_an_answer_is_a_fault() -> None:
    with pytest.raises(DeliveryError, match="each of rollout-0, rollout-1, got rollout-0"):
        check_proofs(VERSION, [proof("rollout-0")], engines=ENGINES, tolerance=1e-3)


def test_one_engine_answering_for_another_is_a_fault() -> None:
    with pytest.raises(DeliveryError, match="got rollout-0, rollout-0"):
        check_proofs(VERSION, [proof("rollout-0"), proof("rollout-0")], engines=ENGINES, tolerance=1e-3)
