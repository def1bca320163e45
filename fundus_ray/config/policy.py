"""Settings of the policy before RL, and of the engines that write its chains."""

from __future__ import annotations

from dataclasses import dataclass

from fundus_ray.config.option import option

VLLM_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM 0.32 accepts as max_lora_rank
NO_FOLDER = ("tiny", "reader")  # words that policy.path may be instead of a folder


@dataclass
class PolicyConfig:
    """The network and its adapter."""

    path: str = option(
        "tiny",
        "folder of a Qwen2.5-VL checkpoint; `tiny` = made on the spot; `reader` = the model of traces.reader, so that "
        "one generic model both reads for the traces and starts the policy",
    )
    dtype: str = option("float32", "weights and engine arithmetic", choices=("float32", "bfloat16"))
    lora_rank: int = option(
        8, "rank of the adapter on the language model's linear layers", low=1, high=VLLM_LORA_RANKS[-1]
    )
    lora_alpha: int = option(16, "scale of the adapter is alpha / rank", low=1)
    probe_tolerance: float = option(
        0.0, "largest |engine - learner| logprob on the delivery probe; 0 = 0.001 in float32, 0.2 in bfloat16", low=0.0
    )


@dataclass
class SftConfig:
    """Warm start on reasoning traces; writes policy version 0's base weights."""

    steps: int = option(250, "optimizer steps on traces; 0 = start RL from policy.path as it is", low=0)
    traces: str = option(
        "", "folder of `fundus-ray traces generate` to learn from; empty = made by traces.reader, else simulated"
    )
    target: str = option(
        "traces",
        "what is imitated: the traces, or as a control the bare answers of the samples that have one",
        choices=("traces", "answers"),
    )
    batch_size: int = option(32, "traces a step", low=1)
    learning_rate: float = option(2e-3, "peak rate, warmed up then decayed by a cosine", above=0.0)
    vision_warmup_steps: int = option(
        200,
        "steps that first teach the vision tower: on phantoms where the lesions are, on other data, and only of "
        "policy.path=tiny, the answers to all questions about an image at once",
        low=0,
    )
    drop_finding: float = option(0.4, "the trace writer overlooks a finding with this chance", low=0.0, high=1.0)
    label_blind: float = option(
        0.7,
        "share of traces whose writer concludes from the findings it noticed, not from the label",
        low=0.0,
        high=1.0,
    )
    bf16: bool = option(True, "bfloat16 autocast during SFT, where the device computes in it")


@dataclass
class RolloutConfig:
    """The vLLM engines that write chains."""

    workers: int = option(1, "engines", low=1)
    min_workers: int = option(
        0, "engines that training starts with; the others join it when the cluster has a place; 0 = all", low=0
    )
    cpus: float = option(1.0, "CPUs Ray sets aside for each", low=0.0)
    gpus: float = option(0.0, "GPUs Ray sets aside for each; a fraction shares one GPU with other actors", low=0.0)
    tensor_parallel: int = option(1, "GPUs of one machine over which each engine splits the model", low=1)
    threads: int = option(1, "OpenMP threads of each (CPU engines)", low=1)
    cores: str = option("", "cores of their machine that engines run on, as 0 or 0,2-5; empty = all")
    group_size: int = option(8, "rollouts a prompt", low=2)
    temperature: float = option(
        1.0, "sampling temperature; the learner divides its logits by the same", low=0.01, high=10.0
    )
    max_tokens: int = option(64, "longest completion", low=1)
    max_model_len: int = option(512, "longest prompt with image tokens + completion", low=16)
    max_seqs: int = option(256, "sequences an engine runs at once", low=1)
    max_loras: int = option(
        0, "policy versions an engine can hold at once; 0 = what loop.async_ratio needs, ceil(r) + 2", low=0
    )
    restarts: int = option(
        3, "engines that may die in a run and are started again; one more ends the run, and so does 0", low=0
    )
    hang_s: float = option(
        0.0,
        "an engine that draws no token for so long though it has work, or gives no sign of life, counts as dead, a "
        "reward actor too; 0 = a fifth of loop.stall_s",
        low=0.0,
    )
    gpu_memory_utilization: float = option(0.85, "share of a GPU's memory for the engine", above=0.0, high=1.0)
