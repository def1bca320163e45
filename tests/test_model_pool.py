"""Questions and deaths of engines, with engines that are scripted, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fundus_ray.crew import Care
from fundus_ray.errors import DataError, ProcessDiedError, WorkerDiedError
from fundus_ray.model_pool import ModelPool, Picture
from fundus_ray.obs.virtual_time import run_virtual
from fundus_ray.types import ModelReply, ModelRequest, Pulse


@dataclass
class Diary:
    """What was asked of whom, and who dies of what (each once)."""

    events: list[tuple[float, str, str]] = field(default_factory=list)
    fatal: set[str] = field(default_factory=set)
    start_s: float = 5.0


class Engine:
    """An answer takes a second."""

    def __init__(self, name: str, diary: Diary, life: int = 1) -> None:
        self.name, self.diary, self.life = name, diary, life
        self.dead = False

    async def placed(self) -> None:
        pass

    async def pulse(self) -> Pulse:
        return Pulse()

    async def start(self) -> None:
        self.note("start")
        await asyncio.sleep(self.diary.start_s)

    async def ask(self, image: Picture | None, request: ModelRequest) -> ModelReply:
        self.note(request.user)
        if request.user == "broken":
            raise DataError("image x.png cannot be read")
        if request.user in self.diary.fatal:
            self.diary.fatal.remove(request.user)
            self.dead = True
        await asyncio.sleep(1.0)
        if self.dead:
            raise ProcessDiedError(f"{self.name} died")
        return ModelReply(f"{request.user} by {self.name}", complete=True)

    async def close(self, *, limit_s: float) -> None:
        self.note("close")

    def again(self) -> Engine:
        return Engine(self.name, self.diary, self.life + 1)

    def note(self, what: str) -> None:
        self.diary.events.append((asyncio.get_running_loop().time(), f"{self.name}.{self.life}", what))


def pool(diary: Diary, *, engines: int = 2, restarts: int = 3) -> ModelPool:
    care = Care(role="engine", setting="rollout.restarts", restarts=restarts)
    return ModelPool([Engine(f"reader-{i}", diary) for i in range(engines)], care=care)


async def asked(model: ModelPool, *questions: str) -> list[str]:
    replies = [model.ask(None, ModelRequest("", question, max_tokens=8)) for question in questions]
    return [reply.text for reply in await asyncio.gather(*replies)]


def run(main: Callable[[], object]) -> object:
    return run_virtual(main)  # type: ignore[arg-type]


def test_questions_of_an_engine_that_died_are_answered_by_another_one() -> None:
    diary = Diary(fatal={"q0"})

    async def main() -> None:
        found = await asked(pool(diary), "q0", "q1", "q2")  # q0 and q2 on reader-0, which both die
        assert found == ["q0 by reader-1", "q1 by reader-1", "q2 by reader-1"]

    run(main)
    assert [name for _, name, what in diary.events if what == "q2"] == ["reader-0.1", "reader-1.1"]


def test_an_engine_that_returned_takes_questions_again() -> None:
    diary = Diary(fatal={"q0"})

    async def main() -> None:
        model = pool(diary, engines=1)
        assert await asked(model, "q0") == ["q0 by reader-0"]  # it waits for the only engine's second life
        assert asyncio.get_running_loop().time() == 1.0 + 5.0 + 1.0

    run(main)
    assert diary.events == [(0.0, "reader-0.1", "q0"), (1.0, "reader-0.2", "start"), (6.0, "reader-0.2", "q0")]


def test_a_death_beyond_the_restarts_ends_all_waiting() -> None:
    diary = Diary(fatal={"q0", "q1"})

    async def main() -> None:
        model = pool(diary, engines=1, restarts=1)
        assert await asked(model, "q0") == ["q0 by reader-0"]
        with pytest.raises(WorkerDiedError, match="reader-0 died"):
            await asked(model, "q1", "q3")
        with pytest.raises(WorkerDiedError, match="reader-0 died"):
            await asked(model, "q2")

    run(main)


def test_an_error_of_one_question_is_raised_to_its_asker_and_costs_no_engine() -> None:
    diary = Diary()

    async def main() -> None:
        model = pool(diary)
        with pytest.raises(DataError, match=r"x\.png"):
            await asked(model, "broken")
        assert await asked(model, "q0") == ["q0 by reader-1"]
        assert await model.close(limit_s=1.0) == []

    run(main)
    assert [name for _, name, what in diary.events if what == "close"] == ["reader-0.1", "reader-1.1"]
