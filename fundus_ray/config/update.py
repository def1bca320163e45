"""Settings of an update: what a chain is paid for, how the adapter learns from it, how updates follow."""

from __future__ import annotations

from dataclasses import dataclass

from fundus_ray.config.option import option


@dataclass
class RewardConfig:
    """What a chain is paid for: total = sum(weight x part) / sum(weight) over the parts that apply."""

    workers: int = option(1, "reward actors", low=1)
    min_workers: int = option(
        0, "reward actors that training starts with; the others join it when the cluster has a place; 0 = all", low=0
    )
    cpus: float = option(0.0, "CPUs Ray sets aside for each", low=0.0)
    gpus: float = option(0.0, "GPUs Ray sets aside for each, for the model of reward.checker=nli or judge", low=0.0)
    restarts: int = option(
        10, "reward actors that may die in a run and are started again; one more ends the run, and so does 0", low=0
    )
    accuracy: float = option(1.0, "weight: the answer is right", low=0.0)
    format: float = option(0.1, "weight: the chain has the asked form", low=0.0)
    consistency: float = option(
        0.2, "weight: findings agree with the knowledge record of the chain's OWN answer", low=0.0
    )
    grounding: float = option(
        0.5, "weight: findings agree with the image's annotated findings, where it has any", low=0.0
    )
    knowledge: float = option(
        0.0, "weight: the relations that the chain states (finding to disease) are borne out by knowledge", low=0.0
    )
    coherence: float = option(0.0, "weight: findings, reasons, conclusion and answer hang together", low=0.0)
    custom: float = option(0.5, "weight: your own function, where reward.plugin names one", low=0.0)
    plugin: str = option("", "your own part of the reward, as module:function; its signature is in reward/plugin.py")
    gate_consistency: bool = option(False, "pay consistency only where the answer is right")
    max_claims: int = option(12, "findings, and relations, of a chain that count; further ones count against it", low=1)
    checker: str = option(
        "record",
        "who checks stated relations: knowledge records and passages, a cross-encoder for natural-language inference, "
        "or a language model that vLLM serves",
        choices=("record", "nli", "judge"),
    )
    checker_model: str = option("", "folder of the model of reward.checker=nli or judge")
    timeout_s: float = option(60.0, "longest search, or check, of one group", above=0.0)
    at_once: int = option(16, "groups that one actor scores at once; those that are held do not count", low=1)
    hold_s: float = option(45.0, "a group waits this long for a search or checker that is down", low=0.0)
    outage: str = option(
        "drop",
        "then drop: the group is not trained on; mask: it is, without the parts that need search or checker",
        choices=("drop", "mask"),
    )


@dataclass
class LearnerConfig:
    """The LoRA policy update."""

    ranks: int = option(1, "processes that share each update, whole groups by tokens", low=1)
    shard: bool = option(
        False, "each rank keeps a part of every frozen layer and gathers the layer where it is used (FSDP2)"
    )
    cpus: float = option(1.0, "CPUs Ray sets aside for each rank", low=0.0)
    gpus: float = option(0.0, "GPUs Ray sets aside for each rank", low=0.0)
    threads: int = option(1, "PyTorch threads (CPU learner)", low=1)
    cores: str = option(
        "", "cores of its machine that the learner runs on, as 0 or 0,2-5; ranks divide them in order. Empty = all"
    )
    learning_rate: float = option(1e-3, "constant AdamW rate of the adapter", above=0.0)
    algorithm: str = option(
        "dapo",
        "advantage, surrogate and mean of the paper of this name. dapo: rewards in units of their group's spread, "
        "clip-higher, mean over tokens; the rest of DAPO is loop.drop_no_spread and learner.overlong_tokens",
        choices=("grpo", "dr_grpo", "rloo", "reinforce_pp", "dapo", "gspo", "cispo"),
    )
    clip_low: float = option(
        0.0, "ratio is clipped below 1 - clip_low; 0 = the algorithm's own (dapo 0.2)", low=0.0, high=1.0
    )
    clip_high: float = option(0.0, "ratio is clipped above 1 + clip_high; 0 = the algorithm's own (dapo 0.28)", low=0.0)
    overlong_tokens: int = option(
        0, "the last tokens before rollout.max_tokens cost reward, at the end 1 (DAPO); 0 = none do", low=0
    )
    kl: float = option(
        0.0, "weight of the KL penalty to the reference, the policy without its adapter; 0 = none", low=0.0
    )
    kl_estimator: str = option("k3", "Schulman's estimators of that KL; k3 is GRPO's", choices=("k1", "k2", "k3"))
    correction: str = option(
        "tis",
        "weight w of a token against behaviour logprobs: min(w, high); icepop: 0 outside low..high; geometric: 0 for a "
        "sequence whose geometric mean is outside low..high; decoupled: 0 above high; none: 1",
        choices=("none", "tis", "icepop", "geometric", "decoupled"),
    )
    correction_low: float = option(
        0.0, "its lower bound; 0 = the correction's own (icepop 0.5, geometric 0.99)", low=0.0, high=1.0
    )
    correction_high: float = option(
        0.0, "its upper bound, >= 1; 0 = its own (tis 2, icepop and decoupled 5, geometric 1.01)", low=0.0
    )
    allow_uncorrected: bool = option(False, "let stale rollouts be trained on with learner.correction=none")
    updates_per_batch: int = option(1, "optimizer steps on each batch (mini-batches of whole groups)", low=1)
    micro_batch_tokens: int = option(
        4096, "tokens a forward pass, in whole groups whose prompt counts once; a longer group goes alone", low=1
    )
    bf16: bool = option(False, "bfloat16 autocast of the update's products; the softmax stays float32")
    checkpointing: bool = option(
        False, "keep each layer's input only and compute the rest again for its gradient: less memory, more time"
    )
    image_cache_mb: int = option(
        1024, "MiB of main memory for the frozen vision tower's embeddings; 0 = encode an image for each pass", low=0
    )
    grad_clip: float = option(1.0, "largest gradient norm", above=0.0)
    restarts: int = option(
        3,
        "times that a dead learner is started again from the last checkpoint; one death more ends the run, and so does "
        "the first with 0",
        low=0,
    )


@dataclass
class LoopConfig:
    """The RLVR loop."""

    steps: int = option(40, "policy updates", low=0)
    groups_per_step: int = option(32, "prompts an update", low=1)
    async_ratio: float = option(
        1.0,
        "0 = synchronous; r lets ceil((1 + r) x groups_per_step) prompts be under way, so lag <= ceil(r)",
        low=0.0,
        high=64.0,
    )
    window: int = option(
        0,
        "groups behind the oldest that may be trained before it where it is slow; the bound on lag stays. 0 = strict "
        "order. Has most room where the ratio is not whole, as at 0.5",
        low=0,
    )
    drop_no_spread: bool = option(False, "drop groups whose rollouts all score the same (DAPO's dynamic sampling)")
    checkpoint_every: int = option(10, "updates between checkpoints; 0 = only at the end", low=0)
    stall_s: float = option(
        300.0, "the run ends if no group or update arrives for this long, starts of engines not counted", above=0.0
    )
