"""What both sides of the comparison with TRL are asked to do, as settings of the one and of the other.

    short   chains as the warm-started policy writes them, about 25 tokens
    long    chains of about 120 tokens, up to 512, from a policy that was taught to write so (side_by_side_policy.py)

In: a workload. Out: overrides of `fundus-ray train`, and arguments of TRL's `GRPOConfig` and PEFT's `LoraConfig`. Both
come from the same numbers here; a test compares them one by one. No network library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fundus_ray.config import Config, load
from fundus_ray.data.order import sample_at
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.outcome import accuracy, well_formed
from fundus_ray.types import Prompt, Sample

PROMPTS, GROUP = 32, 8  # an update: 256 rollouts
TEMPERATURE = 1.0
RANK, ALPHA = 8, 16
CORES = 2
TRAIN_SAMPLES, HELD_OUT = 2048, 512
ACCURACY, FORMAT = 1.0, 0.1  # weights of the reward
BETAS, GRAD_CLIP, CLIP = (0.9, 0.95), 1.0, (0.2, 0.28)  # of the learner; no settings of a run but for grad_clip

# What both sides read: `fundus-ray train` draws its prompts from it, and TRL's data set is made of it.
DATA = ("data.option_order=sorted", f"data.train_samples={TRAIN_SAMPLES}", f"data.eval_samples={HELD_OUT}")


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of chains."""

    name: str
    max_tokens: int
    max_model_len: int
    learning_rate: float
    updates: int


WORKLOADS = {
    "short": Workload("short", max_tokens=64, max_model_len=512, learning_rate=1e-3, updates=40),
    # A rate at which the lengths that the policy writes stay what they are.
    "long": Workload("long", max_tokens=512, max_model_len=768, learning_rate=1e-4, updates=12),
}


@dataclass(frozen=True, slots=True)
class TrlSetup:
    """How TRL computes. Which is the fastest depends on the machine and the chains, so it is tried out first."""

    dtype: str = "float32"  # float32 | bfloat16 (weights too) | autocast (weights in float32)
    attention: str = "sdpa"
    micro_batch: int = 64  # rollouts a forward pass with gradient

    def __str__(self) -> str:
        return f"{self.dtype},{self.attention},{self.micro_batch}"


# One setting after the other, each with the best of those before it.
TRIED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("dtype", ("float32", "bfloat16", "autocast")),
    ("attention", ("sdpa", "eager")),
    ("micro_batch", (32, 64, 128, 256)),
)


def fastest(rate: Callable[[TrlSetup], float]) -> tuple[TrlSetup, dict[TrlSetup, float]]:
    """The setup with the highest rate of those that TRIED leads to, and the rates of all that were tried."""
    best, rates = TrlSetup(), dict[TrlSetup, float]()
    for name, values in TRIED:
        for value in values:
            setup = replace(best, **{name: value})
            if setup not in rates:
                rates[setup] = rate(setup)
        best = max(rates, key=rates.__getitem__)
    return best, rates


def trl_setup(text: str) -> TrlSetup:
    """Of `float32,sdpa,64`. Raises ValueError where it is none."""
    dtype, attention, micro_batch = text.split(",")
    values = (dtype, attention, int(micro_batch))
    if not all(value in allowed for value, (_, allowed) in zip(values, TRIED, strict=True)):
        raise ValueError(text)
    return TrlSetup(*values)


def ours(work: Workload, *, policy: str, updates: int, ratio: float, threads: tuple[int, int]) -> list[str]:
    """Overrides of `fundus-ray train`, without held-out evaluation. `threads`: of the engine and of the learner."""
    return [
        *DATA,
        "run.name=side-by-side",
        f"policy.path={policy}",
        "sft.steps=0",
        f"policy.lora_rank={RANK}",
        f"policy.lora_alpha={ALPHA}",
        f"rollout.group_size={GROUP}",
        f"rollout.temperature={TEMPERATURE}",
        f"rollout.max_tokens={work.max_tokens}",
        f"rollout.max_model_len={work.max_model_len}",
        f"rollout.max_seqs={PROMPTS * GROUP}",
        f"rollout.threads={threads[0]}",
        f"reward.accuracy={ACCURACY}",
        f"reward.format={FORMAT}",
        "reward.consistency=0",
        "reward.grounding=0",
        f"learner.threads={threads[1]}",
        f"learner.learning_rate={work.learning_rate}",
        "learner.algorithm=dapo",
        f"learner.grad_clip={GRAD_CLIP}",
        f"loop.steps={updates}",
        f"loop.groups_per_step={PROMPTS}",
        f"loop.async_ratio={ratio}",
        "loop.checkpoint_every=0",
        "evaluate.photo=false",
    ]


def held_out(on: bool) -> list[str]:
    """Overrides: read the held-out samples after the updates, or not at all."""
    return [f"evaluate.samples={HELD_OUT}", "evaluate.before=false"] if on else ["evaluate.samples=0"]


def only_held_out(work: Workload, *, policy: str) -> list[str]:
    """Overrides of a run that reads the held-out samples with a policy as it is."""
    kept = [s for s in ours(work, policy=policy, updates=0, ratio=0.0, threads=(2, 1)) if "async_ratio" not in s]
    return [*kept, f"evaluate.samples={HELD_OUT}"]


def grpo_arguments(work: Workload, *, updates: int, setup: TrlSetup, seed: int) -> dict[str, Any]:
    """Of TRL's `GRPOConfig`."""
    return {
        "num_generations": GROUP,
        "temperature": TEMPERATURE,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": work.max_tokens,
        # All 256 are written in one call, then trained on in micro-batches that make one optimizer step.
        "per_device_train_batch_size": setup.micro_batch,
        "gradient_accumulation_steps": PROMPTS * GROUP // setup.micro_batch,
        "num_iterations": 1,
        "max_steps": updates,
        "beta": 0.0,
        "loss_type": "dapo",
        "epsilon": CLIP[0],
        "epsilon_high": CLIP[1],
        "scale_rewards": "group",
        "learning_rate": work.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "weight_decay": 0.0,
        "max_grad_norm": GRAD_CLIP,
        "shuffle_dataset": False,  # the rows are in the order in which ours asks
        "seed": seed,
        "use_cpu": True,
        "bf16": setup.dtype != "float32",
        "gradient_checkpointing": False,
        "model_init_kwargs": {
            "dtype": "bfloat16" if setup.dtype == "bfloat16" else "float32",
            "attn_implementation": setup.attention,
        },
        "dataloader_num_workers": 0,
        "save_strategy": "no",
        "logging_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def lora_arguments(targets: Sequence[str]) -> dict[str, Any]:
    """Of PEFT's `LoraConfig`: the language model's linear layers, as policy/load.py has it."""
    return {
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": list(targets),
        "exclude_modules": r".*visual.*",
        "task_type": "CAUSAL_LM",
    }


def asked(samples: Sequence[Sample], *, updates: int) -> list[Prompt]:
    """The prompts of all updates, in the order in which a run with run.seed=0 asks them."""
    return [
        build_prompt(sample_at(samples, seed=0, group_id=i), group_id=i, seed=GROUP * i)
        for i in range(updates * PROMPTS)
    ]


def outcome(text: str, sample: Sample, *, vocabulary: Vocabulary) -> float:
    """The total that `reward.accuracy` and `reward.format` give, for TRL: the same functions, the same weights, and 0
    where no answer can be read."""
    reading = read_chain(text, vocabulary)
    chosen = choose(reading.answer, sample.options)
    if chosen is None:
        return 0.0
    return (ACCURACY * accuracy(chosen, sample.answer) + FORMAT * well_formed(reading)) / (ACCURACY + FORMAT)


def data_config() -> Config:
    """Of the data alone."""
    return load(None, list(DATA))
