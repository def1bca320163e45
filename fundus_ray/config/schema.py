"""The whole tree of settings, and what follows from several of them.

The sections, every setting with its default, documentation and range: sources.py, policy.py, update.py,
surroundings.py. Derived values are properties, so that no two fields can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from fundus_ray.config.policy import VLLM_LORA_RANKS, PolicyConfig, RolloutConfig, SftConfig
from fundus_ray.config.sources import DataConfig, KnowledgeConfig, TracesConfig
from fundus_ray.config.surroundings import EvaluateConfig, RayConfig, RunConfig
from fundus_ray.config.update import LearnerConfig, LoopConfig, RewardConfig


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
    def engines_needed(self) -> int:
        """Engines without which training does not start."""
        return self.rollout.min_workers or self.rollout.workers

    @property
    def scorers_needed(self) -> int:
        """Reward actors without which training does not start."""
        return self.reward.min_workers or self.reward.workers

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
    def hang_s(self) -> float:
        """rollout.hang_s, or what leaves room for several looks and a restart before the run counts as stalled."""
        return self.rollout.hang_s or self.loop.stall_s / 5

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
