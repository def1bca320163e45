"""Each claim is checked once, and counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fundus_ray.reward.checkers.checker import CheckedVerdict, CheckerError, Claim
from fundus_ray.reward.verdicts import Verdicts
from fundus_ray.types import Modality, Verdict

CFP, OCT = Modality.CFP, Modality.OCT
A, B, D = ("drusen", "glaucoma", True, CFP), ("drusen", "glaucoma", False, CFP), ("drusen", "glaucoma", True, OCT)


class Checker:
    """Says which claim it was asked about; `down` makes it fail."""

    name = "record"

    def __init__(self) -> None:
        self.asked: list[list[Claim]] = []
        self.down = False

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        self.asked.append(list(claims))
        if self.down:
            raise CheckerError("down")
        return [CheckedVerdict(Verdict.SUPPORTED, 1.0, None, f"{c.supports} {c.modality.value}") for c in claims]

    async def close(self) -> None:
        pass


async def test_new_claims_are_checked_in_one_call_and_remembered_by_direction_and_modality() -> None:
    checker = Checker()
    verdicts = Verdicts(checker)
    found = await verdicts.check({A: (), B: (), D: ()})
    assert {key: verdict.why for key, verdict in found.items()} == {A: "True CFP", B: "False CFP", D: "True OCT"}
    assert len(checker.asked) == 1
    assert verdicts.recall([A, B, A]) == {A: found[A], B: found[B]}
    assert await verdicts.check({}) == {}
    assert len(checker.asked) == 1
    assert (verdicts.hits, verdicts.misses) == (3, 3)


async def test_a_failed_check_is_not_remembered() -> None:
    checker = Checker()
    verdicts = Verdicts(checker)
    checker.down = True
    with pytest.raises(CheckerError):
        await verdicts.check({A: ()})
    assert verdicts.recall([A]) == {}
    assert (verdicts.hits, verdicts.misses) == (0, 0)


async def test_the_least_recently_used_claim_is_forgotten_first() -> None:
    verdicts = Verdicts(Checker(), capacity=2)
    await verdicts.check({A: (), B: ()})
    verdicts.recall([A])
    await verdicts.check({D: ()})
    assert set(verdicts.recall([A, B, D])) == {A, D}
