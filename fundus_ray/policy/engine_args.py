"""How vLLM is started here, on a CPU and on a GPU: what every engine of this project shares.

In: the configuration, a model's folder, and what one kind of engine adds. Out: `AsyncEngineArgs`.
"""

from __future__ import annotations

from typing import Any

from vllm import AsyncEngineArgs

from fundus_ray.config import Config

CPU_BATCH_TOKENS = 1024  # most prompt tokens of one engine step: more would hold up the answers under way


def engine_args(config: Config, *, model_path: str, **more: Any) -> AsyncEngineArgs:
    """`rollout.*` and `policy.dtype` say how; `more` are further arguments of vLLM's."""
    on_cpu, ways = config.rollout.gpus == 0, config.rollout.tensor_parallel
    return AsyncEngineArgs(
        model=model_path,
        dtype=config.policy.dtype,
        max_model_len=config.rollout.max_model_len,
        max_num_seqs=config.rollout.max_seqs,
        seed=config.run.seed,
        enforce_eager=on_cpu,
        # vLLM 0.32 rewinds a seeded request's generator after each chunk of a prompt; a CPU generator cannot be.
        enable_chunked_prefill=not on_cpu,
        # The smallest a CPU engine takes: prompts shorter than its default of 128 would never share a prefix, and
        # each rollout of a group would encode the prompt again.
        block_size=32 if on_cpu else None,
        max_num_batched_tokens=max(CPU_BATCH_TOKENS, config.rollout.max_model_len, config.rollout.max_seqs)
        if on_cpu
        else None,
        gpu_memory_utilization=config.rollout.gpu_memory_utilization,
        tensor_parallel_size=ways,
        # Its processes beside this one, on this machine: inside a placement group vLLM's own choice would be Ray
        # actors, for which the group has no room.
        distributed_executor_backend="mp" if ways > 1 else None,
        mm_processor_cache_gb=0,  # its two halves lose step with each other in long runs
        enable_log_requests=False,
        disable_log_stats=True,
        **more,
    )
