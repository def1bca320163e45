"""The one configuration tree: dataclasses with a line of documentation and an allowed range for every field.

    defaults (here)  <-  one YAML recipe (only what differs)  <-  dotted overrides (`loop.async_ratio=0.5`)

`load` returns a checked `Config` or raises `ConfigError` in one line that names key, value, allowed range and remedy.
Derived values are properties, so that no two fields can disagree.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fundus_ray.errors import ConfigError

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
    seed: int = _opt(0, "seed of everything random: data, policy, prompt order, sampling", low=0)


@dataclass
class DataConfig:
    """What to learn from."""

    source: str = _opt(
        "phantoms",
        "rendered images with known findings, views of one CC0 photograph, or your own images by a JSONL",
        choices=("phantoms", "photo", "jsonl"),
    )
    path: str = _opt("", "jsonl only: the JSONL file; image paths in it are relative to its folder")
    train_samples: int = _opt(2048, "phantoms and photo: training samples to render", low=1)
    eval_samples: int = _opt(512, "phantoms and photo: held-out samples to render", low=1)
    eval_fraction: float = _opt(0.2, "jsonl: share of patients held out", above=0.0, high=0.9)
    option_order: str = _opt(
        "given",
        "given: as the source has them (rendered ones shuffled by seed); sorted: an option keeps its letter",
        choices=("given", "sorted"),
    )
    image_px: int = _opt(
        112, "side of rendered images; a multiple of 28 (Qwen2.5-VL's patch x merge)", low=56, high=1120
    )


@dataclass
class KnowledgeConfig:
    """The embedded knowledge store that rewards and traces read."""

    passages_dir: str = _opt("", "folder of further Markdown passages to index beside the shipped ones")
    top_k: int = _opt(2, "passages kept as evidence for each query", low=1, high=20)


@dataclass
class PolicyConfig:
    """The network and its adapter."""

    path: str = _opt("tiny", "`tiny` (made on the spot) or the folder of a Qwen2.5-VL checkpoint")
    dtype: str = _opt("float32", "weights and engine arithmetic", choices=("float32", "bfloat16"))
    lora_rank: int = _opt(
        8, "rank of the adapter on the language model's linear layers", low=1, high=VLLM_LORA_RANKS[-1]
    )
    lora_alpha: int = _opt(16, "scale of the adapter is alpha / rank", low=1)
    probe_tolerance: float = _opt(
        1e-3, "largest |engine - learner| logprob on the delivery probe (bfloat16 wants about 0.2)", above=0.0
    )


@dataclass
class SftConfig:
    """Warm start on reasoning traces; writes policy version 0's base weights."""

    steps: int = _opt(250, "optimizer steps on traces; 0 = start RL from policy.path as it is", low=0)
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
    group_size: int = _opt(8, "rollouts a prompt", low=2)
    temperature: float = _opt(
        1.0, "sampling temperature; the learner divides its logits by the same", above=0.0, high=10.0
    )
    max_tokens: int = _opt(64, "longest completion", low=1)
    max_model_len: int = _opt(512, "longest prompt with image tokens + completion", low=16)
    max_seqs: int = _opt(128, "sequences an engine runs at once", low=1)
    gpu_memory_utilization: float = _opt(0.85, "share of a GPU's memory for the engine", above=0.0, high=1.0)


@dataclass
class RewardConfig:
    """What a chain is paid for: total = sum(weight x part) / sum(weight) over the parts that apply."""

    workers: int = _opt(1, "reward actors", low=1)
    cpus: float = _opt(0.0, "CPUs Ray sets aside for each", low=0.0)
    accuracy: float = _opt(1.0, "weight: the answer is right", low=0.0)
    format: float = _opt(0.1, "weight: the chain has the asked form", low=0.0)
    consistency: float = _opt(
        0.2, "weight: findings agree with the knowledge record of the chain's OWN answer", low=0.0
    )
    grounding: float = _opt(
        0.5, "weight: findings agree with the image's annotated findings, where it has any", low=0.0
    )
    gate_consistency: bool = _opt(False, "pay consistency only where the answer is right")
    timeout_s: float = _opt(60.0, "longest scoring of one group", above=0.0)


@dataclass
class LearnerConfig:
    """The LoRA policy update."""

    cpus: float = _opt(1.0, "CPUs Ray sets aside", low=0.0)
    gpus: float = _opt(0.0, "GPUs Ray sets aside", low=0.0)
    threads: int = _opt(1, "PyTorch threads (CPU learner)", low=1)
    learning_rate: float = _opt(1e-3, "constant AdamW rate of the adapter", above=0.0)
    clip_low: float = _opt(0.2, "ratio is clipped below 1 - clip_low", low=0.0, high=1.0)
    clip_high: float = _opt(0.28, "ratio is clipped above 1 + clip_high (DAPO's clip-higher)", low=0.0)
    correction: str = _opt(
        "tis",
        "off-policy correction against behaviour logprobs: token truncated importance sampling, or none",
        choices=("tis", "none"),
    )
    tis_cap: float = _opt(2.0, "token weights are truncated here", low=1.0)
    updates_per_batch: int = _opt(1, "optimizer steps on each batch (mini-batches of whole groups)", low=1)
    micro_batch_rollouts: int = _opt(64, "rollouts a forward pass", low=1)
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
    drop_no_spread: bool = _opt(False, "drop groups whose rollouts all score the same (DAPO's dynamic sampling)")
    checkpoint_every: int = _opt(10, "updates between checkpoints; 0 = only at the end", low=0)
    stall_s: float = _opt(300.0, "the run ends if no group or update arrives for this long", above=0.0)


@dataclass
class EvaluateConfig:
    """Held-out evaluation before and after RL."""

    samples: int = _opt(512, "held-out samples to use; 0 = no evaluation", low=0)
    photo: bool = _opt(True, "at the end also read scikit-image's CC0 photograph and print the chain")


@dataclass
class RayConfig:
    """The cluster."""

    address: str = _opt("local", "`local` starts a private Ray; `auto` or HOST:PORT joins a running cluster")
    start_timeout_s: float = _opt(300.0, "longest start of all actors, model loading included", above=0.0)


@dataclass
class Config:
    """The whole tree."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    knowledge: KnowledgeConfig = field(default_factory=KnowledgeConfig)
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
    def live_adapters(self) -> int:
        """Versions an engine must be able to hold at once (vLLM's max_loras)."""
        return self.max_lag + 2

    @property
    def engine_lora_rank(self) -> int:
        """vLLM's max_lora_rank: the smallest it accepts that holds policy.lora_rank."""
        return next(r for r in VLLM_LORA_RANKS if r >= self.policy.lora_rank)


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Defaults, then the YAML recipe, then `a.b=c` overrides; checked. Raises ConfigError."""
    tree = OmegaConf.structured(Config)
    for origin, layer in _layers(path, overrides):
        for key in _leaf_keys(layer):
            _check_known(key, origin)
        try:
            tree = OmegaConf.merge(tree, layer)
        except OmegaConfBaseException as err:
            key = getattr(err, "full_key", "") or "?"
            raise ConfigError(
                f"{origin}: {key}: {str(err).splitlines()[0]}; `fundus-ray config` lists types and ranges"
            ) from None
    try:
        config = OmegaConf.to_object(tree)
    except OmegaConfBaseException as err:
        raise ConfigError(f"{path or 'command line'}: {' '.join(str(err).split())}") from None
    assert isinstance(config, Config)
    check(config)
    return config


def check(config: Config) -> None:
    """Every field against its range, then the rules that join fields. Raises ConfigError."""
    for key, meta, value in documented_fields(config):
        _check_range(key, value, meta)
    _check_rules(config)


def documented_fields(config: Config) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(dotted key, {doc, low, high, above, choices}, value) of every field, in the tree's order."""
    for section in fields(config):
        part = getattr(config, section.name)
        for item in fields(part):
            yield f"{section.name}.{item.name}", dict(item.metadata), getattr(part, item.name)


def allowed(meta: dict[str, Any]) -> str:
    """The allowed range in words, or an empty string."""
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    bounds = []
    if meta["low"] is not None:
        bounds.append(f">= {meta['low']:g}")
    if meta["above"] is not None:
        bounds.append(f"> {meta['above']:g}")
    if meta["high"] is not None:
        bounds.append(f"<= {meta['high']:g}")
    return " and ".join(bounds)


def to_yaml(config: Config) -> str:
    """The resolved tree as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _layers(path: str | Path | None, overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if path is not None:
        try:
            layer = OmegaConf.load(path)
        except FileNotFoundError:
            raise ConfigError(f"config file {path} does not exist; shipped recipes are in configs/") from None
        except (YAMLError, OSError) as err:
            raise ConfigError(f"config file {path} cannot be read: {' '.join(str(err).split())}") from None
        if not OmegaConf.is_dict(layer):
            raise ConfigError(
                f"config file {path} must hold `section: {{key: value}}`, as configs/quickstart.yaml does"
            )
        yield str(path), layer
    for item in overrides:
        key, sep, _ = item.partition("=")
        if not sep or not key:
            raise ConfigError(f"override {item!r} is not of the form section.key=value")
        try:
            yield "command line", OmegaConf.from_dotlist([item])
        except (YAMLError, OmegaConfBaseException) as err:
            raise ConfigError(f"override {item!r} cannot be read: {' '.join(str(err).split())}") from None


def _leaf_keys(layer: Any) -> Iterator[str]:
    content: Any = OmegaConf.to_container(layer)
    for section, part in content.items():
        if isinstance(part, dict):
            yield from (f"{section}.{key}" for key in part)
        else:
            yield str(section)


def _check_known(key: str, origin: str) -> None:
    known = [k for k, _, _ in documented_fields(Config())]
    if key in known:
        return
    sections = {k.split(".")[0] for k in known}
    if key in sections:
        raise ConfigError(
            f"{origin}: {key} is a section: set one of its keys, e.g. {next(k for k in known if k.startswith(key))}"
        )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`fundus-ray config` lists every key"
    raise ConfigError(f"{origin}: unknown key {key}; {hint}")


def _check_range(key: str, value: Any, meta: dict[str, Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        ok = False
    else:
        ok = (
            (not meta["choices"] or value in meta["choices"])
            and (meta["low"] is None or value >= meta["low"])
            and (meta["above"] is None or value > meta["above"])
            and (meta["high"] is None or value <= meta["high"])
        )
    if not ok:
        raise ConfigError(f"{key}={value} is not allowed: must be {allowed(meta) or 'a finite number'} ({meta['doc']})")


def _check_rules(c: Config) -> None:
    if c.data.image_px % 28:
        raise ConfigError(
            f"data.image_px={c.data.image_px} is not a multiple of 28; nearest is {round(c.data.image_px / 28) * 28}"
        )
    if (c.data.source == "jsonl") != bool(c.data.path):
        raise ConfigError(
            f"data.path={c.data.path!r} does not go with data.source={c.data.source}: "
            "jsonl needs a path, the other sources take none"
        )
    if c.data.source != "phantoms" and c.sft.vision_warmup_steps and c.sft.steps:
        raise ConfigError(
            f"sft.vision_warmup_steps={c.sft.vision_warmup_steps} needs lesion maps, "
            f"which data.source={c.data.source} has not; set it to 0"
        )
    if c.policy.path != "tiny" and not (Path(c.policy.path) / "config.json").is_file():
        raise ConfigError(
            f"policy.path={c.policy.path} is not a checkpoint folder (no config.json); "
            "give a folder of Qwen2.5-VL or `tiny`"
        )
    if c.policy.path == "tiny" and c.loop.steps and not c.sft.steps:
        raise ConfigError(
            "sft.steps=0 with policy.path=tiny: the tiny policy starts random and must be warmed up; set sft.steps > 0"
        )
    if c.loop.async_ratio > 0 and c.learner.correction == "none":
        raise ConfigError(
            f"loop.async_ratio={c.loop.async_ratio:g} with learner.correction=none trains on stale rollouts "
            "as if they were fresh; set learner.correction=tis or loop.async_ratio=0"
        )
    if c.learner.updates_per_batch > c.loop.groups_per_step:
        raise ConfigError(
            f"learner.updates_per_batch={c.learner.updates_per_batch} must be <= "
            f"loop.groups_per_step={c.loop.groups_per_step}: a mini-batch is at least one group"
        )
    if c.rollout.max_tokens >= c.rollout.max_model_len:
        raise ConfigError(
            f"rollout.max_tokens={c.rollout.max_tokens} must be < rollout.max_model_len={c.rollout.max_model_len}: "
            "the prompt needs room"
        )
    if not (c.reward.accuracy or c.reward.format or c.reward.consistency or c.reward.grounding):
        raise ConfigError("every reward weight is 0: nothing can be learned; set reward.accuracy > 0")
