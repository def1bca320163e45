"""Any model that vLLM serves, as it is: words and perhaps an image in, words out that keep to a JSON schema. It names
findings for the reasoning traces and drafts knowledge records; the policy that is trained has its own engine
(generate.py).

In: `ModelRequest`. Out: `ModelReply`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from PIL import Image
from transformers import AutoProcessor
from vllm import SamplingParams
from vllm.exceptions import VLLMClientError, VLLMServerError
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM

from fundus_ray.config import Config
from fundus_ray.errors import ConfigError, WorkerDiedError
from fundus_ray.policy.engine_args import engine_args
from fundus_ray.policy.generate import shut_down
from fundus_ray.types import ModelReply, ModelRequest


class ServedModel:
    """One engine. Any number of requests may be under way."""

    def __init__(self, llm: AsyncLLM, *, processor: Any, name: str) -> None:
        self._llm = llm
        self._processor = processor
        self._name = name
        self._counter = 0

    @classmethod
    def start(cls, config: Config, *, model_path: str, name: str) -> ServedModel:
        """Load the model; takes seconds to minutes. Must be called inside a running event loop.

        Raises ConfigError where the folder holds no model that vLLM serves, or no chat template.
        """
        try:
            processor = AutoProcessor.from_pretrained(model_path, local_files_only=True)
            if not getattr(processor, "chat_template", None):
                raise ConfigError(f"{model_path} has no chat template, so it cannot be asked; take an instruct model")
            args = engine_args(
                config,
                model_path=model_path,
                limit_mm_per_prompt={"image": 1, "video": 0},
                # A weak model would else fill its reply with the blanks that a schema allows. Only this backend keeps
                # a request's lists and texts within the lengths of the schema, too.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
            )
            llm = AsyncLLM.from_engine_args(args)
        except (OSError, ValueError) as err:
            raise ConfigError(f"{model_path} cannot be served: {' '.join(str(err).split())[:300]}") from err
        return cls(llm, processor=processor, name=name)

    async def complete(self, request: ModelRequest, *, pixels: Image.Image | None, limit_s: float) -> ModelReply:
        """The reply. Raises TimeoutError after `limit_s` seconds (the request is then aborted), ConfigError for a
        request that does not fit, WorkerDiedError where the engine fails."""
        inputs: dict[str, Any] = {"prompt": self._prompt(request, with_image=pixels is not None)}
        if pixels is not None:
            inputs["multi_modal_data"] = {"image": pixels}
        self._counter += 1
        name = f"{self._name}-{self._counter}"
        last = None
        try:
            async with asyncio.timeout(limit_s):
                async for output in self._llm.generate(inputs, _sampling_params(request), name):
                    last = output
        except (ValueError, VLLMClientError) as err:  # vLLM's words for a request that it cannot take
            raise ConfigError(
                f"{self._name}: the request does not fit: {' '.join(str(err).split())[:200]}; set "
                "rollout.max_model_len higher, to the prompt, its image and the reply together"
            ) from None
        except VLLMServerError as err:
            raise WorkerDiedError(f"{self._name}: its engine failed: {' '.join(str(err).split())[:200]}") from err
        assert last is not None
        (completion,) = last.outputs
        drawn = [at[i] for at, i in zip(completion.logprobs, completion.token_ids, strict=True)]
        tokens = tuple((token.decoded_token or "", float(token.logprob)) for token in drawn)
        return ModelReply(text=completion.text, complete=completion.finish_reason == "stop", tokens=tokens)

    async def close(self) -> None:
        """Stop the engine."""
        shut_down(self._llm)

    def _prompt(self, request: ModelRequest, *, with_image: bool) -> str:
        user: Any = request.user
        if with_image:
            user = [{"type": "image"}, {"type": "text", "text": request.user}]
        messages = [{"role": "system", "content": request.system}, {"role": "user", "content": user}]
        text = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text


def _sampling_params(request: ModelRequest) -> SamplingParams:
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=0.0,
        logprobs=0,  # of the drawn token alone; vLLM takes them after what the schema forbids is struck out
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=request.schema),
    )
