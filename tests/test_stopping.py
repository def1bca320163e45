"""A run that is asked to stop: by a real signal, at once or in order, in each stage."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fundus_ray.stopping import Termination, orderly_stop, until_stopped


@pytest.fixture
def termination() -> Termination:
    """As cli/entry.py sets it."""
    return Termination()


async def signalled(stop: asyncio.Event, *numbers: int, said: list[str]) -> None:
    with orderly_stop(stop, say=said.append):
        first, *more = numbers
        os.kill(os.getpid(), first)
        async with asyncio.timeout(10):
            await stop.wait()
        for number in more:
            os.kill(os.getpid(), number)
            await asyncio.sleep(10)


@pytest.mark.parametrize(("number", "asked"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_the_first_signal_only_asks_and_sigterm_is_remembered(
    termination: Termination, number: int, asked: bool
) -> None:
    before = signal.signal(signal.SIGTERM, termination)
    try:
        stop, said = asyncio.Event(), list[str]()
        await signalled(stop, number, said=said)
        assert stop.is_set()
        assert termination.asked is asked
        assert len(said) == 1
        assert signal.getsignal(signal.SIGTERM) is termination
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_the_second_signal_ends_at_once_and_is_no_order_any_more(termination: Termination) -> None:
    before = signal.signal(signal.SIGTERM, termination)
    try:
        task = asyncio.ensure_future(signalled(asyncio.Event(), signal.SIGTERM, signal.SIGTERM, said=[]))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not termination.asked
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_work_is_cancelled_and_cleaned_up_when_a_stop_is_asked_for() -> None:
    stop, steps = asyncio.Event(), list[str]()

    async def work() -> int:
        steps.append("began")
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")
        return 1

    assert await until_stopped(work(), stop) is None
    assert steps == ["began", "cleaned up"]


async def test_work_that_ends_or_fails_is_as_without_a_stop() -> None:
    async def fails() -> int:
        raise ValueError("as it is")

    assert await until_stopped(asyncio.sleep(0, 7), asyncio.Event()) == 7
    with pytest.raises(ValueError, match="as it is"):
        await until_stopped(fails(), asyncio.Event())


def test_sigterm_before_any_update_ends_at_once_with_exit_code_0_and_says_where_the_run_stands(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{}")
    small = ["data.train_samples=16", "data.eval_samples=4", "sft.vision_warmup_steps=1", "sft.batch_size=2"]
    settings = [*small, "sft.steps=100000", f"run.dir={tmp_path}"]
    command = [sys.executable, "-m", "fundus_ray.cli", "train", "--config", str(recipe), *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            next(line for line in process.stdout if line.startswith("== sft:"))
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, err.splitlines()[-1]) == (0, "fundus-ray: ended in order after SIGTERM"), out + err
    assert "== stopped before the first checkpoint; start the run anew" in out
