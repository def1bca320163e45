"""Samples that cannot be used: each is left out for the rest of the run, with its reason, while the run goes on.

In: samples as they fail, and those of the run before a resume. Out: why a sample is left out. Pure bookkeeping.

What fails because of the system (a process, a machine, the search) is tried again and never comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fundus_ray.errors import DataError
from fundus_ray.types import Prompt, RolloutGroup, ScoredGroup

QUARANTINED = "quarantined"  # drop reason

Note = Callable[[Prompt, str], None]


class Quarantine:
    """Sample ids with their reasons."""

    def __init__(self, *, limit: int, note: Note, held: Mapping[str, str] | None = None) -> None:
        """limit: samples before the run ends (data.max_quarantined); `note` is told of each group that is left out;
        `held`: samples of the run before a resume."""
        self._limit = limit
        self._note = note
        self._held = dict(held or {})

    def reason(self, sample_id: str) -> str:
        """Why the sample is left out; "" where it is not."""
        return self._held.get(sample_id, "")

    def add(self, prompt: Prompt, reason: str) -> None:
        """Leave the prompt's group out, and its sample from now on. Raises DataError where it is one sample more than
        `limit`."""
        known = prompt.sample.id in self._held
        self._held.setdefault(prompt.sample.id, reason)
        self._note(prompt, reason)
        if not known and len(self._held) > self._limit:
            raise DataError(
                f"{len(self._held)} samples cannot be used, more than data.max_quarantined={self._limit}; they are "
                f"listed in quarantine.jsonl of the run's folder; the last: {reason}"
            )


def quarantined(prompt: Prompt, *, at_s: float) -> ScoredGroup:
    """The prompt's group, which was never written: dropped, and it holds no rollout."""
    group = RolloutGroup(prompt=prompt, prompt_token_ids=(), rollouts=(), worker="", started_s=at_s, finished_s=at_s)
    return ScoredGroup(
        group=group, scored=(), trainable=False, drop_reason=QUARANTINED, started_s=at_s, finished_s=at_s
    )
