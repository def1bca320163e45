"""The actor of a served model: one vLLM engine, as it is or under one adapter that stays.

In: what to ask, as a rule about an image. Out: the model's reply. The runtime wraps this class as a Ray actor, for the
reasoning traces, drafts and benchmarks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fundus_ray.config import Config
from fundus_ray.cores import pin_process
from fundus_ray.errors import TimeLimitError
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import ModelReply, ModelRequest, Pulse

if TYPE_CHECKING:
    from PIL import Image

    from fundus_ray.policy.serve import ServedModel
    from fundus_ray.policy.stored_adapter import StoredAdapter


class ModelWorker:
    """`start`, then `ask`, any number at once."""

    def __init__(
        self,
        config: Config,
        model_path: str,
        name: str,
        log_path: str,
        read: Callable[[Any], Image.Image],
        adapter: StoredAdapter | None,
    ) -> None:
        """read: an image as `ask` is given it -> its RGB pixels; raises DataError where it cannot be read."""
        redirect_output(log_path)
        pin_process(config.rollout.cores, key="rollout.cores")
        self._config = config
        self._model_path = model_path
        self._name = name
        self._read = read
        self._adapter = adapter
        self._model: ServedModel | None = None

    async def start(self) -> None:
        """Load the model and its adapter: seconds to minutes. Raises ConfigError where the folder holds none that vLLM
        serves, DeliveryError where the adapter has not the effect that it had in training."""
        from fundus_ray.policy.serve import ServedModel  # vLLM, which the driver's process must do without

        model = ServedModel.start(self._config, model_path=self._model_path, name=self._name, adapter=self._adapter)
        if self._adapter is not None:
            await model.take(self._adapter, tolerance=self._config.probe_tolerance)
        self._model = model

    async def ask(self, image: Any | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one. Raises DataError where that cannot be read,
        TimeLimitError after loop.stall_s."""
        assert self._model is not None, "start() comes first"
        pixels = None if image is None else await asyncio.to_thread(self._read, image)
        limit_s = self._config.loop.stall_s
        try:
            return await self._model.complete(request, pixels=pixels, limit_s=limit_s)
        except TimeoutError:
            raise TimeLimitError(f"{self._name}: no answer within {limit_s:g} s (loop.stall_s)") from None

    async def pulse(self) -> Pulse:
        """A sign of life."""
        assert self._model is not None, "start() comes first"
        return await self._model.pulse()

    async def close(self) -> None:
        """Stop the engine."""
        if self._model is not None:
            await self._model.close()
