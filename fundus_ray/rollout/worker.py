"""The rollout actor: one vLLM engine that always writes under the newest version that it has provably taken.

In: prompts, published adapters. Out: rollout groups, delivery proofs. The runtime wraps this class as a Ray actor.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fundus_ray.config import Config
from fundus_ray.data.images import read_pixels
from fundus_ray.errors import DeliveryError
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, PublishedAdapter, RolloutGroup, Sampling

if TYPE_CHECKING:
    from fundus_ray.policy.generate import Engine


class RolloutWorker:
    """`start`, then `take` a version, then `generate`; both may be called while others are under way."""

    def __init__(self, config: Config, model_path: str, name: str, log_path: str) -> None:
        if log_path:
            redirect_output(log_path)  # before vLLM's processes start, so that theirs goes there too
        self._config = config
        self._model_path = model_path
        self._name = name
        self._engine: Engine | None = None
        self._newest: PolicyVersion | None = None

    async def start(self) -> None:
        """Load the model: seconds to minutes."""
        from fundus_ray.policy.generate import Engine  # vLLM, which the driver's process must do without

        self._engine = Engine.start(self._config, model_path=self._model_path, worker=self._name)

    async def take(self, adapter: PublishedAdapter) -> DeliveryProof:
        """Take a version beside those under which requests still run; from now on new prompts run under it."""
        proof = await self._started.deliver(adapter)
        self._newest = adapter.version
        return proof

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """All completions of the prompt. Raises DeliveryError before the first `take`, as the base never answers, and
        DataError where the image cannot be read or is not the one that was loaded."""
        if self._newest is None:
            raise DeliveryError(f"{self._name} was asked for rollouts before it took a policy version")
        version = self._newest  # before the wait: a version that arrives meanwhile is for later prompts
        pixels = await asyncio.to_thread(read_pixels, prompt.sample.image)
        return await self._started.generate(prompt, pixels=pixels, sampling=sampling, version=version)

    async def close(self) -> None:
        """Stop the engine's processes."""
        if self._engine is not None:
            await self._engine.close()

    @property
    def _started(self) -> Engine:
        assert self._engine is not None, "start() comes first"
        return self._engine
