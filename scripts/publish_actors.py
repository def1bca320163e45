"""The learner's and the engines' actors as they are, with a clock in them.

In: nothing but what the package's own workers take. Out: when each part of a delivery began and ended, and when each
token of a request came. All times are time.time(), so that those of several processes on one machine lie on one axis.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import torch

from fundus_ray.data.images import read_pixels
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.rollout.worker import RolloutWorker
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, PublishedAdapter

Interval = tuple[float, float]
STEP_SIZE = 1e-4  # how far a made-up update moves each weight of the adapter


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it was asked for and then when each token came, how it ended ("" = it was ended by us), and
    under which version it ran."""

    token_s: tuple[float, ...]
    finish_reason: str
    step: int


class TimedLearner(LearnerWorker):
    """Its updates are made up: noise on the adapter."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._published: Interval = (0.0, 0.0)

    def advance(self) -> None:
        """The next version."""
        with torch.no_grad():
            for parameter in self._parameters:
                parameter.add_(torch.randn_like(parameter), alpha=STEP_SIZE)
        self._step += 1

    def publish(self) -> tuple[PolicyVersion, PublishedAdapter]:
        """As it is, timed."""
        began = time.time()
        found = super().publish()
        self._published = (began, time.time())
        return found

    def published(self) -> Interval:
        """The last `publish`."""
        return self._published


class TimedRollout(RolloutWorker):
    """Its parts of a delivery are timed; requests can be written token by token."""

    async def start(self) -> None:
        """As it is; then a clock is put around what a delivery calls."""
        module: Any = importlib.import_module("fundus_ray.policy.generate")  # vLLM

        await super().start()
        self._parts: dict[str, Interval] = {}
        self._stop = asyncio.Event()
        self._writing = 0  # requests that have their first token
        engine = self._started
        vllm: Any = engine._llm
        timed: Any = self._timed  # these names are looked up at each call
        module.write_files = self._timed_plain("write", module.write_files)
        vllm.add_lora = timed("add_lora", vllm.add_lora)
        engine._read_ahead = timed("read", engine._read_ahead)  # type: ignore[method-assign]
        engine._probe = timed("probe", engine._probe)  # type: ignore[method-assign]

    async def take(self, adapter: PublishedAdapter) -> DeliveryProof:
        """As it is, timed."""
        self._parts.clear()
        began = time.time()
        proof = await super().take(adapter)
        self._parts["take"] = (began, time.time())
        return proof

    async def parts(self) -> dict[str, Interval]:
        """The last delivery: take, and within it write, read (of no length where nothing is read ahead), add_lora and,
        at the same time, probe."""
        return {"read": (0.0, 0.0), **self._parts}

    async def write(self, prompt: Prompt, first: float) -> list[Request]:
        """One request after the other, until `stop_writing`. `first`: the share of the longest length at which the
        first one ends, so that several writers do not ask for their next ones together."""
        self._stop.clear()
        longest = self._config.rollout.max_tokens
        requests = [await self._request(prompt, max_tokens=math.ceil(first * longest))]
        while not self._stop.is_set():
            requests.append(await self._request(prompt, max_tokens=longest))
        return requests

    async def first_token(self, prompt: Prompt) -> Request:
        """A request of one token."""
        return await self._request(prompt, max_tokens=1)

    async def writing(self) -> int:
        """Requests that have their first token and not yet their last."""
        return self._writing

    async def stop_writing(self) -> None:
        """End the requests of `write`."""
        self._stop.set()

    async def _request(self, prompt: Prompt, *, max_tokens: int) -> Request:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._started
        version = engine.served
        assert version is not None
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True, output_kind=RequestOutputKind.DELTA)
        engine._counter += 1
        token_s = [time.time()]
        finish_reason, begun = "", False
        with engine.lease(version):
            inputs = engine._inputs(prompt, read_pixels(prompt.sample.image))
            outputs = engine._llm.generate(
                inputs, params, f"timed-{engine._counter}", lora_request=engine._requests[version]
            )
            try:
                async for output in outputs:
                    token_s += [time.time()] * len(output.outputs[0].token_ids)
                    self._writing += not begun
                    begun = True
                    finish_reason = output.outputs[0].finish_reason or ""
                    if self._stop.is_set() and max_tokens > 1:
                        break
            finally:
                self._writing -= begun
                await outputs.aclose()
        return Request(tuple(token_s), finish_reason, version.step)

    def _timed(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.time()
            try:
                return await call(*args, **kwargs)
            finally:
                self._parts[name] = (began, time.time())

        return timed

    def _timed_plain(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.time()
            try:
                return call(*args, **kwargs)
            finally:
                self._parts[name] = (began, time.time())

        return timed
