"""What the stages of a run share.

In: configuration, data, run folder, where the run starts. Out: `Job`: which prompt a group is, and what a checkpoint
holds of all this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fundus_ray import loop
from fundus_ray.checkpoints import Checkpoint
from fundus_ray.config import Config
from fundus_ray.data.source import DataSplit
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.trace import Trace
from fundus_ray.reasoning.prompt import build_prompt
from fundus_ray.types import Prompt, Sample

SEEDS_A_RUN = 2**40  # sampling seeds of different run seeds never meet
NEXT_SAMPLES = 32  # whose ids a checkpoint holds


@dataclass(frozen=True, slots=True)
class Job:
    """What the stages share."""

    config: Config
    split: DataSplit
    folder: RunFolder
    trace: Trace
    cache_dir: Path
    checkpoint: Checkpoint | None  # where a resumed run goes on
    sample_at: Callable[[int], Sample]  # by position in the order of prompts
    origin: Mapping[str, Any] = field(default_factory=dict)  # what the run is made from (resume.py)
    admitted: set[int] = field(default_factory=set)  # groups whose prompts were asked for

    @property
    def start(self) -> loop.Position:
        """Where the run stands at its start."""
        return self.checkpoint.position if self.checkpoint else loop.Position()

    def prompt_at(self, group_id: int) -> Prompt:
        """The group's prompt, which counts as under way from now on."""
        seed = self.config.run.seed
        first = seed * SEEDS_A_RUN + group_id * self.config.rollout.group_size
        self.admitted.add(group_id)
        return build_prompt(self.sample_at(group_id), group_id=group_id, seed=first)

    def under_way(self, at: loop.Position) -> list[int]:
        """Groups that were asked for and are not behind the position, in ascending order; the others are forgotten."""
        self.admitted.difference_update({group for group in self.admitted if group < at.group_id}, at.passed)
        return sorted(self.admitted)

    def record_at(self, at: loop.Position) -> dict[str, Any]:
        """What a checkpoint keeps beside the position: what the run is made from, the groups that are under way, which
        are written again on resume, and the samples that come next, as group id -> sample id."""
        upcoming = range(at.group_id, at.group_id + NEXT_SAMPLES)
        return {
            **self.origin,
            "under_way": self._sample_ids(self.under_way(at)),
            "next_samples": self._sample_ids(sorted({*upcoming, *at.passed})),
        }

    def _sample_ids(self, group_ids: list[int]) -> dict[str, str]:
        return {str(group_id): self.sample_at(group_id).id for group_id in group_ids}
