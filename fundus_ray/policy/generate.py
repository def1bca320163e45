"""A vLLM engine that holds several versions of the policy at once and writes chains under one that is named.

In: prompts, and published adapters. Out: rollout groups with behaviour log-probabilities, and delivery proofs.
There is no call without an adapter, hence no silent fall-back to the base weights.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from vllm import SamplingParams
from vllm.exceptions import VLLMClientError
from vllm.logprobs import FlatLogprobs
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from fundus_ray.config import Config
from fundus_ray.errors import DeliveryError, ProcessDiedError, SampleError, WorkerDiedError
from fundus_ray.gather import all_or_first_error
from fundus_ray.policy.adapter import read_files, sha256_of, write_files
from fundus_ray.policy.adapter_prefetch import WORKER_EXTENSION
from fundus_ray.policy.engine_args import engine_args
from fundus_ray.policy.live_versions import LiveVersions
from fundus_ray.policy.load import load_processor, prompt_text
from fundus_ray.policy.scratch import LockedFolder, check_room, memory_folder
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    PublishedAdapter,
    Pulse,
    Rollout,
    RolloutGroup,
    Sampling,
)

READ_AHEAD_BYTES = 4 << 20  # a smaller adapter is read sooner than it is asked for twice
READ_AHEAD_POLL_S = 0.02
PROBE_FIRST = -1  # a probe's priority: it does not wait behind prompts that have not begun, whose priority is 0


class Engine:
    """One vLLM engine. Requests under way keep the version that they started with; deliveries never pause them.

    Every call raises ProcessDiedError where vLLM's own process is gone.
    """

    def __init__(self, llm: AsyncLLM, *, processor: Any, live_adapters: int, worker: str) -> None:
        self._llm = llm
        self._processor = processor
        self._live_adapters = live_adapters
        self._worker = worker
        self._live = LiveVersions(live_adapters, worker=worker)
        self._served: PolicyVersion | None = None
        self._requests: dict[PolicyVersion, LoRARequest] = {}
        self._removals: list[asyncio.Task[None]] = []
        self._counter = 0
        self._asleep = False
        self._adapters = 0  # named so far
        self._last_probe: tuple[float, ...] | None = None  # the learner's, of the version that arrived last
        self._scratch = LockedFolder(memory_folder())
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
            worker_extension_cls=WORKER_EXTENSION,
            scheduling_policy="priority",  # for the probes; among prompts it is first come, first served
            enable_sleep_mode=config.ray.colocate,
        )
        llm = AsyncLLM.from_engine_args(args)
        return cls(llm, processor=load_processor(model_path), live_adapters=config.live_adapters, worker=worker)

    async def deliver(self, adapter: PublishedAdapter) -> DeliveryProof:
        """Take a version beside those already here, and answer with the proof that it arrived; `serve` makes it the one
        for new requests.

        Raises DeliveryError where it did not arrive, or this engine is closed.
        """
        if not self._folder.is_dir():  # writing would bring back a folder that nobody holds
            raise DeliveryError(f"{self._worker}: closed, so it takes no policy version {adapter.version.step}")
        started = time.perf_counter()
        removals, self._removals = self._removals, []
        await asyncio.gather(*removals)  # as a rule long done; the version may have been here before
        if not self._live.held:
            check_room(self._folder, adapters=self._live_adapters, adapter_bytes=sum(map(len, adapter.files.values())))
        self._live.arrive(adapter.version)
        request = self._adapter_of(adapter.version)
        folder = Path(request.lora_path)
        # Threads: an adapter of hundreds of MB must not hold up the requests that this event loop serves.
        try:
            await asyncio.to_thread(write_files, adapter, folder)
        except OSError as err:  # engines beside this one may have taken the room that there was
            raise DeliveryError(f"{folder}: policy version {adapter.version.step} cannot be written: {err}") from err
        if sum(map(len, adapter.files.values())) >= READ_AHEAD_BYTES:
            await self._read_ahead(request)
        # At once, since each answer comes between two steps of the engine, which are long where it is busy. What is
        # asked first is done first.
        answers: list[Any] = await all_or_first_error(
            [self._load(request), self._probe(adapter, request), asyncio.to_thread(_hash_on_disk, folder)]
        )
        listed, probe, sha256 = answers
        shift = None if self._last_probe is None else largest_gap(self._last_probe, adapter.probe_logprobs)
        self._last_probe = adapter.probe_logprobs
        return DeliveryProof(
            worker=self._worker,
            version=adapter.version,
            sha256=sha256,
            listed=listed,
            probe_error=largest_gap(probe, adapter.probe_logprobs),
            probe_shift=shift,
            seconds=time.perf_counter() - started,
        )

    async def serve(self, version: PolicyVersion) -> None:
        """New requests run under this version from now on, so older ones go once their requests have ended."""
        self._live.serve(version)
        self._served = version
        self._remove_unused()

    @property
    def served(self) -> PolicyVersion | None:
        """What new requests are to run under; None before the first `serve`, as the base weights never answer."""
        return self._served

    @contextmanager
    def lease(self, version: PolicyVersion) -> Iterator[None]:
        """Keep the version here while the body runs."""
        try:
            with self._live.lease(version):
                yield
        finally:
            self._remove_unused()

    async def generate(
        self, prompt: Prompt, *, pixels: Image.Image, sampling: Sampling, version: PolicyVersion
    ) -> RolloutGroup:
        """All completions of one prompt and its image's RGB `pixels` under `version`.

        Raises DeliveryError where this engine does not hold the version, SampleError where vLLM refuses the prompt, as
        one that is too long, or its processor the image, as one of 300 x 1 pixels.
        """
        started = time.time()
        with self.lease(version), self._naming_death():
            params = _sampling_params(sampling, seed=prompt.seed)
            try:
                output = await self._run(self._inputs(prompt, pixels), params, self._requests[version])
            except (VLLMClientError, EngineGenerateError) as err:
                if (refusal := _refusal(err)) is None:
                    raise
                raise SampleError(f"sample {prompt.sample.id}: vLLM refuses its prompt: {_one_line(refusal)}") from err
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=tuple(output.prompt_token_ids or ()),
            rollouts=tuple(
                _rollout(c, tokenizer=self._processor.tokenizer, prompt=prompt, version=version) for c in output.outputs
            ),
            worker=self._worker,
            started_s=started,
            finished_s=time.time(),
        )

    async def pulse(self) -> Pulse:
        """A sign of life."""
        with self._naming_death():
            return await pulse_of(self._llm)

    async def sleep(self) -> None:
        """Give the GPU's memory up until `wake`: weights and adapters go to the machine's memory, what is cached of
        prompts and images is forgotten. Raises WorkerDiedError where a request is under way, which vLLM would abort."""
        if self._asleep:
            return
        if under_way := self._llm.output_processor.get_num_unfinished_requests():
            raise WorkerDiedError(f"{self._worker} was told to sleep with {under_way} requests under way")
        removals, self._removals = self._removals, []
        await asyncio.gather(*removals)  # an adapter that is asleep cannot be removed
        with self._naming_death():
            await self._llm.sleep(level=1)
        self._asleep = True

    async def wake(self) -> None:
        """Take the GPU's memory again."""
        if self._asleep:
            with self._naming_death():
                await self._llm.wake_up()
            self._asleep = False

    async def close(self) -> None:
        """Stop the engine's process and remove its adapters from memory."""
        await asyncio.gather(*self._removals, return_exceptions=True)
        shut_down(self._llm)
        self._scratch.close()

    @property
    def held_versions(self) -> tuple[int, ...]:
        """Policy steps that this engine can generate under, oldest first."""
        return tuple(version.step for version in self._live.held)

    def _adapter_of(self, version: PolicyVersion) -> LoRARequest:
        """That of a version that is held, or a name and an id (from 1) that this engine never used before: vLLM tells
        adapters, and the prompts that it has cached under them, apart by these alone, and a step may be made anew with
        other weights."""
        if version not in self._requests:
            self._adapters += 1
            name = f"policy-v{version.step:06d}-{self._adapters}"
            self._requests[version] = LoRARequest(name, self._adapters, str(self._folder / name))
        return self._requests[version]

    def _remove_unused(self) -> None:
        """Their places are free from now on; nobody waits until vLLM, between two steps, has removed them."""
        for version in self._live.retire():
            self._removals.append(asyncio.create_task(self._remove(self._requests.pop(version))))

    async def _remove(self, old: LoRARequest) -> None:
        with self._naming_death():
            await self._llm.remove_lora(old.lora_int_id)
        await asyncio.to_thread(shutil.rmtree, old.lora_path, ignore_errors=True)

    async def _read_ahead(self, request: LoRARequest) -> None:
        """Until vLLM's workers have read the adapter, beside their work."""
        with self._naming_death():
            args = (request.lora_name, request.lora_int_id, request.lora_path)
            await self._llm.collective_rpc("prefetch_adapter", args=args)
            while not all(await self._llm.collective_rpc("adapter_is_read", args=(request.lora_int_id,))):
                await asyncio.sleep(READ_AHEAD_POLL_S)
                if self._llm.errored:  # vLLM answers no such call any more
                    raise self._llm.dead_error

    async def _load(self, request: LoRARequest) -> bool:
        """Whether vLLM lists the adapter after it was given to it."""
        with self._naming_death():
            if not await self._llm.add_lora(request):
                raise DeliveryError(f"{self._worker}: vLLM refused adapter {request.lora_name}")
            return request.lora_int_id in await self._llm.list_loras()

    async def _probe(self, adapter: PublishedAdapter, request: LoRARequest) -> list[float]:
        inputs = {"prompt_token_ids": list(adapter.probe_token_ids)}
        with self._naming_death():
            output = await self._run(inputs, probe_params(), request, priority=PROBE_FIRST)
        return probed(output, adapter.probe_token_ids)

    def _inputs(self, prompt: Prompt, pixels: Image.Image) -> dict[str, Any]:
        ids = self._processor.tokenizer(prompt_text(self._processor, prompt))["input_ids"]
        return {"prompt_token_ids": ids, "multi_modal_data": {"image": pixels}}

    async def _run(
        self, inputs: dict[str, Any], params: SamplingParams, request: LoRARequest, *, priority: int = 0
    ) -> RequestOutput:
        self._counter += 1
        name = f"{self._worker}-{self._counter}"
        last: RequestOutput | None = None
        async for output in self._llm.generate(inputs, params, name, lora_request=request, priority=priority):
            last = output
        assert last is not None
        assert last.finished
        return last

    @contextmanager
    def _naming_death(self) -> Iterator[None]:
        try:
            yield
        except EngineDeadError as err:
            raise ProcessDiedError(f"vLLM's engine process died: {_one_line(err)}") from err
        except EngineGenerateError as err:  # says nothing itself
            raise WorkerDiedError(f"{self._worker}: vLLM failed: {' '.join(repr(err.__cause__).split())}") from err


def shut_down(llm: AsyncLLM) -> None:
    """Stop the engine's process."""
    llm.shutdown(timeout=10)
    # The object calls it again when it dies; at the end of the interpreter that fails with a page of text.
    llm.shutdown = lambda timeout=None: None


async def pulse_of(llm: AsyncLLM) -> Pulse:
    """A sign of life of the engine's core, which answers between two of its steps. An engine that sleeps has no work.
    Raises EngineDeadError."""
    if llm.errored:  # it would answer no such call any more
        raise llm.dead_error
    asleep = await llm.is_sleeping()
    drawn = {
        (name, state.detokenizer.num_output_tokens())
        for name, state in llm.output_processor.request_states.items()
        if state.detokenizer is not None
    }
    return Pulse(working=bool(drawn) and not asleep, moved=hash(frozenset(drawn)))


def probe_params() -> SamplingParams:
    """Of a request that asks for the logprobs of its own prompt."""
    return SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY)


def probed(output: RequestOutput, ids: Sequence[int]) -> list[float]:
    """The engine's logprobs of the prompt's tokens 1.."""
    assert output.prompt_logprobs is not None
    return [float(at[i].logprob) for at, i in zip(output.prompt_logprobs[1:], ids[1:], strict=True) if at is not None]


def largest_gap(a: Sequence[float], b: Sequence[float]) -> float:
    """max |a - b|; NaN where either holds one, which Python's own `max` may pass over."""
    return float(np.max(np.abs(np.subtract(a, b))))


def _sampling_params(sampling: Sampling, *, seed: int) -> SamplingParams:
    return SamplingParams(
        n=sampling.n,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=seed,
        logprobs=0,  # of the drawn token alone
        flat_logprobs=True,
        detokenize=False,  # of every token as it comes, twice: a fifth of a small engine's time on a CPU
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _rollout(completion: Any, *, tokenizer: Any, prompt: Prompt, version: PolicyVersion) -> Rollout:
    drawn: FlatLogprobs = completion.logprobs
    ids = tuple(completion.token_ids)
    assert tuple(drawn.token_ids) == ids
    return Rollout(
        token_ids=ids,
        logprobs=tuple(drawn.logprobs),
        text=tokenizer.decode(ids, skip_special_tokens=True),
        finish_reason=completion.finish_reason or "",
        seed=prompt.seed + completion.index,
        policy=version,
    )


def _refusal(err: VLLMClientError | EngineGenerateError) -> BaseException | None:
    """What is wrong with a prompt; None where vLLM itself is at fault."""
    if isinstance(err, VLLMClientError):
        return err
    said = (
        err.__cause__
    )  # a ValueError where an image cannot be processed; it holds all of the prompt, its cause says why
    return (said.__cause__ or said) if isinstance(said, ValueError) else None


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())


def _hash_on_disk(folder: Path) -> str:
    return sha256_of(read_files(folder))
