from __future__ import annotations

import asyncio

import pytest

from fundus_ray.errors import DataError
from fundus_ray.gather import all_or_first_error, errors_of


async def test_first_error_cancels_the_other_calls() -> None:
    ended = []

    async def fail() -> None:
        raise DataError("row 3")

    async def wait() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("cancelled")

    with pytest.raises(DataError, match="row 3"):
        await all_or_first_error([wait(), fail()])
    assert ended == ["cancelled"]
    assert await all_or_first_error([asyncio.sleep(0.02, "a"), asyncio.sleep(0, "b")]) == ["a", "b"]


async def test_errors_are_collected_while_the_other_calls_go_to_their_end() -> None:
    ended = []

    async def fail(row: int) -> None:
        raise DataError(f"row {row}")

    async def work() -> str:
        await asyncio.sleep(0.01)
        ended.append("worked")
        return "done"

    assert [str(err) for err in await errors_of([fail(3), work(), fail(5)])] == ["row 3", "row 5"]
    assert ended == ["worked"]
    assert await errors_of([]) == []
