"""The reader actor: one vLLM engine of a generic multimodal model, as it is.

In: what to ask, as a rule about an image. Out: the model's reply. The runtime wraps this class as a Ray actor.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fundus_ray.config import Config
from fundus_ray.cores import pin_process
from fundus_ray.data.images import read_pixels
from fundus_ray.obs.log_file import redirect_output
from fundus_ray.types import ImageRef, ModelReply, ModelRequest

if TYPE_CHECKING:
    from fundus_ray.policy.serve import ServedModel


class ReaderWorker:
    """`start`, then `ask`, any number at once."""

    def __init__(self, config: Config, model_path: str, name: str, log_path: str) -> None:
        redirect_output(log_path)
        pin_process(config.rollout.cores, key="rollout.cores")
        self._config = config
        self._model_path = model_path
        self._name = name
        self._model: ServedModel | None = None

    async def start(self) -> None:
        """Load the model: seconds to minutes. Raises ConfigError where the folder holds none that vLLM serves."""
        from fundus_ray.policy.serve import ServedModel  # vLLM, which the driver's process must do without

        self._model = ServedModel.start(self._config, model_path=self._model_path, name=self._name)

    async def ask(self, image: ImageRef | None, request: ModelRequest) -> ModelReply:
        """What the model says, of the image where there is one. Raises DataError where that cannot be read,
        TimeoutError after stall_s."""
        assert self._model is not None, "start() comes first"
        pixels = None if image is None else await asyncio.to_thread(read_pixels, image)
        return await self._model.complete(request, pixels=pixels, limit_s=self._config.loop.stall_s)

    async def close(self) -> None:
        """Stop the engine."""
        if self._model is not None:
            await self._model.close()
