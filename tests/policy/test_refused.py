"""What vLLM says of a sample that it cannot take, and of itself, with a vLLM that is scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image
from plain_sample import prompt
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from fundus_ray.errors import ProcessDiedError, SampleError, WorkerDiedError
from fundus_ray.policy.generate import Engine
from fundus_ray.types import PolicyVersion, Sampling

VERSION = PolicyVersion(step=0, sha256="0")


@contextmanager
def engine_that_says(error: Exception, *, cause: Exception | None = None) -> Iterator[Engine]:
    """Instead of writing."""

    async def generate(*_: object, **__: object) -> AsyncIterator[None]:
        yield None
        raise error from cause

    processor = SimpleNamespace(
        tokenizer=lambda text: {"input_ids": [1]}, apply_chat_template=lambda messages, **_: "look"
    )
    llm = cast("Any", SimpleNamespace(generate=generate))
    engine = Engine(llm, processor=processor, live_adapters=2, worker="rollout-0")
    engine._live.arrive(VERSION)
    engine._adapter_of(VERSION)
    try:
        yield engine
    finally:
        engine._scratch.close()


async def write(engine: Engine) -> None:
    sampling = Sampling(n=1, temperature=1.0, max_tokens=4)
    await engine.generate(prompt(5), pixels=Image.new("RGB", (300, 1)), sampling=sampling, version=VERSION)


async def test_an_image_that_the_processor_refuses_is_a_fault_of_the_sample() -> None:
    """As vLLM tells it: its own words name the whole prompt, the processor's stand behind them."""
    refused = ValueError("Failed to apply Qwen2_5_VLProcessor on data={'text': 'look', ...}")
    refused.__cause__ = ValueError("absolute aspect ratio must be smaller than 200, got 300.0")
    with engine_that_says(EngineGenerateError(), cause=refused) as engine, pytest.raises(SampleError) as caught:
        await write(engine)
    assert str(caught.value) == (
        "sample s5: vLLM refuses its prompt: absolute aspect ratio must be smaller than 200, got 300.0"
    )


@pytest.mark.parametrize(
    ("error", "cause", "expected", "said"),
    [
        (EngineGenerateError(), RuntimeError("of its own"), WorkerDiedError, r"^rollout-0: vLLM failed: RuntimeError"),
        (EngineDeadError(), None, ProcessDiedError, r"^vLLM's engine process died: "),
    ],
)
async def test_other_failures_are_the_engines(
    error: Exception, cause: Exception | None, expected: type[Exception], said: str
) -> None:
    with engine_that_says(error, cause=cause) as engine, pytest.raises(expected, match=said):
        await write(engine)
