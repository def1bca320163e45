"""The rollout actor: one vLLM engine that always writes under the version that it was last told to serve.

In: prompts, published adapters. Out: rollout groups, delivery proofs. The runtime wraps this class as a Ray actor.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fundus_ray.config import Config
from fundus_ray.cores import pin_process
from fundus_ray.data.images import read_pixels
from fundus_ray.errors import DataError, DeliveryError, SampleError
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, PublishedAdapter, Pulse, RolloutGroup, Sampling

if TYPE_CHECKING:
    from fundus_ray.policy.generate import Engine


class RolloutWorker:
    """`start`, then `take` a version and `serve` it, then `generate`; all but the first at any time, while others are
    under way."""

    def __init__(self, config: Config, model_path: str, name: str, log_path: str) -> None:
        if log_path:
            redirect_output(log_path)  # before vLLM's processes start, so that theirs goes there too
        pin_process(config.rollout.cores, key="rollout.cores")
        self._config = config
        self._model_path = model_path
        self._name = name
        self._engine: Engine | None = None

    async def start(self) -> None:
        """Load the model: seconds to minutes."""
        from fundus_ray.policy.generate import Engine  # vLLM, which the driver's process must do without

        self._engine = Engine.start(self._config, model_path=self._model_path, worker=self._name)

    async def take(self, adapter: PublishedAdapter) -> DeliveryProof:
        """Hold a version beside those under which requests run; the proof that it is here."""
        return await self._started.deliver(adapter)

    async def serve(self, version: PolicyVersion) -> None:
        """From now on new prompts run under this version. Raises DeliveryError where it was not taken."""
        await self._started.serve(version)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """All completions of the prompt. Raises DeliveryError before the first `serve`, and SampleError where the image
        cannot be read or is not the one that was loaded, or the prompt is too long."""
        engine = self._started
        version = engine.served  # one that is served from a later moment on is for later prompts
        if version is None:
            raise DeliveryError(f"{self._name} was asked for rollouts before it served a policy version")
        with engine.lease(version):
            try:
                pixels = await asyncio.to_thread(read_pixels, prompt.sample.image)
            except DataError as err:
                raise SampleError(f"sample {prompt.sample.id}: {err}") from err
            return await engine.generate(prompt, pixels=pixels, sampling=sampling, version=version)

    async def pulse(self) -> Pulse:
        """A sign of life."""
        return await self._started.pulse()

    async def sleep(self) -> None:
        """Give the GPU up until `wake`; nothing may be under way."""
        await self._started.sleep()

    async def wake(self) -> None:
        """Take the GPU again."""
        await self._started.wake()

    async def close(self) -> None:
        """Stop the engine's processes."""
        if self._engine is not None:
            await self._engine.close()

    @property
    def _started(self) -> Engine:
        assert self._engine is not None, "start() comes first"
        return self._engine
