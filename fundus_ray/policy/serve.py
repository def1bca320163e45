"""Any model that vLLM serves: words and perhaps an image in, words out, which keep to a JSON schema if there is one.

It names findings for the reasoning traces, drafts knowledge records, judges relations, and answers benchmarks, there
perhaps under one adapter that stays. The policy that is trained has its own engine (generate.py).

In: `ModelRequest`. Out: `ModelReply`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from PIL import Image
from vllm import SamplingParams
from vllm.exceptions import VLLMClientError, VLLMServerError
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from fundus_ray.config import Config
from fundus_ray.errors import ConfigError, DeliveryError, ProcessDiedError, WorkerDiedError
from fundus_ray.policy.engine_args import engine_args
from fundus_ray.policy.generate import largest_gap, probe_params, probed, pulse_of, shut_down
from fundus_ray.policy.load import chat_text, served_processor
from fundus_ray.policy.stored_adapter import StoredAdapter
from fundus_ray.types import ModelReply, ModelRequest, Pulse


class ServedModel:
    """One engine. Any number of requests may be under way."""

    def __init__(self, llm: AsyncLLM, *, processor: Any, name: str) -> None:
        self._llm = llm
        self._processor = processor
        self._name = name
        self._counter = 0
        self._lora: LoRARequest | None = None

    @classmethod
    def start(cls, config: Config, *, model_path: str, name: str, adapter: StoredAdapter | None = None) -> ServedModel:
        """Load the model; takes seconds to minutes. With an adapter, `take` it next. Must be called inside a running
        event loop.

        Raises ConfigError where the folder holds no model that vLLM serves, or no chat template.
        """
        lora = {} if adapter is None else {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter.engine_rank}
        processor = served_processor(model_path)
        try:
            args = engine_args(
                config,
                model_path=model_path,
                limit_mm_per_prompt={"image": 1, "video": 0},
                # A weak model would else fill its reply with the blanks that a schema allows. Only this backend keeps
                # a request's lists and texts within the lengths of the schema, too.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                **lora,
            )
            llm = AsyncLLM.from_engine_args(args)
        except (OSError, ValueError) as err:
            raise ConfigError(f"{model_path} cannot be served: {' '.join(str(err).split())[:300]}") from err
        return cls(llm, processor=processor, name=name)

    async def take(self, adapter: StoredAdapter, *, tolerance: float) -> None:
        """From now on answer under the adapter, never without it.

        Raises DeliveryError where vLLM does not hold it, or its logprobs on the adapter's own probe, if it brings one,
        are further than `tolerance` [nats] from the learner's.
        """
        lora = LoRARequest("adapter", 1, adapter.folder)
        if not await self._llm.add_lora(lora) or lora.lora_int_id not in await self._llm.list_loras():
            raise DeliveryError(f"{self._name}: vLLM did not take the adapter {adapter.folder}")
        self._lora = lora
        if not adapter.probe_token_ids:
            return
        output = await self._run({"prompt_token_ids": list(adapter.probe_token_ids)}, probe_params())
        found = probed(output, adapter.probe_token_ids)
        gap = largest_gap(found, adapter.probe_logprobs)
        if not gap <= tolerance:
            raise DeliveryError(
                f"{self._name}: under the adapter {adapter.folder} the probe's logprobs differ by {gap:.4g} nats from "
                f"those of its training, allowed {tolerance:g}; are these the base weights that it was trained on?"
            )

    async def complete(self, request: ModelRequest, *, pixels: Image.Image | None, limit_s: float) -> ModelReply:
        """The reply. Raises TimeoutError after `limit_s` seconds (the request is then aborted), ConfigError for a
        request that does not fit, WorkerDiedError where the engine fails, ProcessDiedError where it is gone."""
        with_image = pixels is not None
        text = chat_text(self._processor, system=request.system, user=request.user, with_image=with_image)
        inputs: dict[str, Any] = {"prompt": text}
        if with_image:
            inputs["multi_modal_data"] = {"image": pixels}
        try:
            async with asyncio.timeout(limit_s):
                output = await self._run(inputs, _sampling_params(request))
        except (ValueError, VLLMClientError) as err:  # vLLM's words for a request that it cannot take
            raise ConfigError(
                f"{self._name}: the request does not fit: {' '.join(str(err).split())[:200]}; set "
                "rollout.max_model_len higher, to the prompt, its image and the reply together"
            ) from None
        except EngineDeadError as err:
            raise ProcessDiedError(f"{self._name}: vLLM's engine process died: {' '.join(str(err).split())}") from err
        except VLLMServerError as err:
            raise WorkerDiedError(f"{self._name}: its engine failed: {' '.join(str(err).split())[:200]}") from err
        (completion,) = output.outputs
        drawn = [at[i] for at, i in zip(completion.logprobs, completion.token_ids, strict=True)]
        tokens = tuple((token.decoded_token or "", float(token.logprob)) for token in drawn)
        likeliest = sorted(completion.logprobs[0].values(), key=lambda token: -token.logprob) if drawn else []
        first = tuple((token.decoded_token or "", float(token.logprob)) for token in likeliest[: request.alternatives])
        return ModelReply(text=completion.text, complete=completion.finish_reason == "stop", tokens=tokens, first=first)

    async def pulse(self) -> Pulse:
        """A sign of life. Raises ProcessDiedError where vLLM's own process is gone."""
        try:
            return await pulse_of(self._llm)
        except EngineDeadError as err:
            raise ProcessDiedError(f"{self._name}: vLLM's engine process died: {' '.join(str(err).split())}") from err

    async def close(self) -> None:
        """Stop the engine."""
        shut_down(self._llm)

    async def _run(self, inputs: dict[str, Any], params: SamplingParams) -> RequestOutput:
        self._counter += 1
        last: RequestOutput | None = None
        name = f"{self._name}-{self._counter}"
        async for output in self._llm.generate(inputs, params, name, lora_request=self._lora):
            last = output
        assert last is not None
        return last


def _sampling_params(request: ModelRequest) -> SamplingParams:
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=0.0,
        # Of the drawn token alone, as a rule; vLLM takes them after what the schema forbids is struck out.
        logprobs=request.alternatives,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=request.schema) if request.schema else None,
    )
