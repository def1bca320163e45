"""A vLLM engine that holds several versions of the policy at once and writes chains under one that is named.

In: prompts, and published adapters. Out: rollout groups with behaviour log-probabilities, and delivery proofs.
There is no call without an adapter, hence no silent fall-back to the base weights.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from vllm import SamplingParams
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from fundus_ray.config import Config
from fundus_ray.errors import DeliveryError
from fundus_ray.policy.adapter import read_files, sha256_of, write_files
from fundus_ray.policy.engine_args import engine_args
from fundus_ray.policy.load import load_processor, prompt_text
from fundus_ray.policy.scratch import LockedFolder
from fundus_ray.types import DeliveryProof, PolicyVersion, Prompt, PublishedAdapter, Rollout, RolloutGroup, Sampling


class Engine:
    """One vLLM engine. Requests under way keep the version that they started with; deliveries never pause them."""

    def __init__(self, llm: AsyncLLM, *, processor: Any, live_adapters: int, worker: str) -> None:
        self._llm = llm
        self._processor = processor
        self._live_adapters = live_adapters
        self._worker = worker
        self._requests: dict[int, LoRARequest] = {}  # policy step -> adapter, in order of arrival
        self._in_use: Counter[int] = Counter()
        self._counter = 0
        self._newest: PublishedAdapter | None = None
        self._scratch = LockedFolder(_memory_folder())
        self._folder = self._scratch.path

    @classmethod
    def start(cls, config: Config, *, model_path: str, worker: str) -> Engine:
        """Load the model; takes seconds to minutes. Must be called inside a running event loop."""
        args = engine_args(
            config,
            model_path=model_path,
            limit_mm_per_prompt={"image": 1, "video": 0},
            logprobs_mode="processed_logprobs",  # of the distribution that was sampled from, temperature included
            enable_lora=True,
            max_loras=config.live_adapters,
            max_cpu_loras=config.live_adapters,
            max_lora_rank=config.engine_lora_rank,
        )
        llm = AsyncLLM.from_engine_args(args)
        return cls(llm, processor=load_processor(model_path), live_adapters=config.live_adapters, worker=worker)

    async def deliver(self, adapter: PublishedAdapter) -> DeliveryProof:
        """Take a version beside those already here, and answer with the proof that it arrived.

        Raises DeliveryError where it did not, or this engine is closed.
        """
        if not self._folder.is_dir():  # writing would bring back a folder that nobody holds
            raise DeliveryError(f"{self._worker}: closed, so it takes no policy version {adapter.version.step}")
        started = time.perf_counter()
        await self._make_room()
        folder = self._folder / adapter.version.name
        write_files(adapter, folder)
        request = LoRARequest(adapter.version.name, adapter.version.lora_id, str(folder))
        if not await self._llm.add_lora(request):
            raise DeliveryError(f"{self._worker}: vLLM refused adapter {adapter.version.name}")
        self._requests[adapter.version.step] = request
        listed = adapter.version.lora_id in await self._llm.list_loras()
        probe = await self._probe(adapter, request)
        error = _largest_gap(probe, adapter.probe_logprobs)
        shift = None if self._newest is None else _largest_gap(self._newest.probe_logprobs, adapter.probe_logprobs)
        self._newest = adapter
        return DeliveryProof(
            worker=self._worker,
            version=adapter.version,
            sha256=sha256_of(read_files(folder)),
            listed=listed,
            probe_error=error,
            probe_shift=shift,
            seconds=time.perf_counter() - started,
        )

    async def generate(
        self, prompt: Prompt, *, pixels: Image.Image, sampling: Sampling, version: PolicyVersion
    ) -> RolloutGroup:
        """All completions of one prompt and its image's RGB `pixels` under `version`.

        Raises DeliveryError where this engine does not hold the version.
        """
        request = self._requests.get(version.step)
        if request is None:
            held = ", ".join(str(s) for s in self._requests) or "none"
            raise DeliveryError(f"{self._worker}: asked for policy version {version.step} but holds {held}")
        started = time.time()
        self._in_use[version.step] += 1
        try:
            output = await self._run(
                self._inputs(prompt, pixels), _sampling_params(sampling, seed=prompt.seed), request
            )
        finally:
            self._in_use[version.step] -= 1
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=tuple(output.prompt_token_ids or ()),
            rollouts=tuple(_rollout(c, prompt=prompt, version=version) for c in output.outputs),
            worker=self._worker,
            started_s=started,
            finished_s=time.time(),
        )

    async def close(self) -> None:
        """Stop the engine's process and remove its adapters from memory."""
        shut_down(self._llm)
        self._scratch.close()

    @property
    def held_versions(self) -> tuple[int, ...]:
        """Policy steps that this engine can generate under, oldest first."""
        return tuple(self._requests)

    async def _make_room(self) -> None:
        """Remove the oldest unused versions, so that one more fits."""
        while len(self._requests) >= self._live_adapters:
            unused = [step for step in self._requests if not self._in_use[step]]
            if not unused:
                raise DeliveryError(
                    f"{self._worker}: all {self._live_adapters} adapter places are in use, "
                    f"by versions {list(self._requests)}"
                )
            old = self._requests.pop(unused[0])
            await self._llm.remove_lora(old.lora_int_id)
            shutil.rmtree(old.lora_path, ignore_errors=True)

    async def _probe(self, adapter: PublishedAdapter, request: LoRARequest) -> list[float]:
        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        ids = list(adapter.probe_token_ids)
        output = await self._run({"prompt_token_ids": ids}, params, request)
        assert output.prompt_logprobs is not None
        return [
            float(at[i].logprob) for at, i in zip(output.prompt_logprobs[1:], ids[1:], strict=True) if at is not None
        ]

    def _inputs(self, prompt: Prompt, pixels: Image.Image) -> dict[str, Any]:
        ids = self._processor.tokenizer(prompt_text(self._processor, prompt))["input_ids"]
        return {"prompt_token_ids": ids, "multi_modal_data": {"image": pixels}}

    async def _run(self, inputs: dict[str, Any], params: SamplingParams, request: LoRARequest) -> RequestOutput:
        self._counter += 1
        last: RequestOutput | None = None
        async for output in self._llm.generate(inputs, params, f"{self._worker}-{self._counter}", lora_request=request):
            last = output
        assert last is not None
        assert last.finished
        return last


def shut_down(llm: AsyncLLM) -> None:
    """Stop the engine's process."""
    llm.shutdown(timeout=10)
    # The object calls it again when it dies; at the end of the interpreter that fails with a page of text.
    llm.shutdown = lambda timeout=None: None


def _largest_gap(a: Sequence[float], b: Sequence[float]) -> float:
    """max |a - b|; NaN where either holds one, which Python's own `max` may pass over."""
    return float(np.max(np.abs(np.subtract(a, b))))


def _sampling_params(sampling: Sampling, *, seed: int) -> SamplingParams:
    return SamplingParams(
        n=sampling.n,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=seed,
        logprobs=0,  # of the drawn token alone
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _rollout(completion: Any, *, prompt: Prompt, version: PolicyVersion) -> Rollout:
    ids = tuple(completion.token_ids)
    return Rollout(
        token_ids=ids,
        logprobs=tuple(float(at[i].logprob) for at, i in zip(completion.logprobs, ids, strict=True)),
        text=completion.text,
        finish_reason=completion.finish_reason or "",
        seed=prompt.seed + completion.index,
        policy=version,
    )


def _memory_folder() -> Path:
    """Node-local memory where the system has it, else the default temporary folder."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())
