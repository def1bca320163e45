"""Recorded groups in the place of engines and reward workers: the loop's parts for learning without writing.

In: what a run recorded (obs/recorded.py), and its prompts. Out: `Replay`, which loop.py takes as its rollouts and its
reward. Pure, no Ray.

The loop takes groups in the order in which it admitted them where nothing may pass (loop.window=0). So the n-th prompt
that it asks for is that of the n-th group that was recorded, and every update is made from the very groups, in the very
order, that it was made from then: whatever the asynchronous ratio, the window, or which groups were dropped.

No engine holds the learner's versions, so nothing is delivered and nothing is proven. They are compared with those that
wrote the recorded rollouts: under the settings of the recorded run they are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fundus_ray.errors import DataError
from fundus_ray.loop import Published
from fundus_ray.obs.recorded import read_recorded, recorded_file
from fundus_ray.quarantine import Quarantine
from fundus_ray.types import DeliveryProof, Prompt, RolloutGroup, ScoredGroup


class NothingLeftOut(Quarantine):
    """In a replay: without a sample that was trained on then, all later updates would be made from other groups."""

    def __init__(self) -> None:
        super().__init__(limit=0, note=lambda prompt, reason: None)

    def add(self, prompt: Prompt, reason: str) -> None:
        """Raises DataError."""
        raise DataError(
            f"sample {prompt.sample.id}, which was recorded, cannot be used: {reason}; a replay leaves none out: put "
            "it back as it was"
        )


class Replay:
    """Updates `after` + 1 to `upto` of a recorded run."""

    def __init__(
        self,
        run_dir: Path,
        *,
        after: int,
        upto: int,
        groups_per_step: int,
        prompt_of: Callable[[int], Prompt],
    ) -> None:
        """`prompt_of` gives the run's own prompt of a group, which must be the one that was recorded."""
        self._run_dir = run_dir
        self._groups_per_step = groups_per_step
        self._prompt_of = prompt_of
        self._coming = self._in_order(range(after + 1, upto + 1))
        self._under_way: dict[int, ScoredGroup] = {}
        self._recorded: dict[int, str] = {}  # policy step -> hash of the version that wrote
        self._learned: dict[int, str] = {}  # policy step -> hash of the learner's own

    def prompt_at(self, _: int) -> Prompt:
        """The prompt of the next recorded group, whatever number the loop counts. Raises DataError where a file cannot
        be trusted, or the data give a group another prompt."""
        group = next(self._coming, None)
        if group is None:
            raise DataError(f"{self._run_dir}: the recording has ended before the last update")
        prompt = group.group.prompt
        self._under_way[prompt.group_id] = group
        return prompt

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        """The rollouts that were recorded."""
        return self._under_way[prompt.group_id].group

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The scores that were recorded."""
        return self._under_way.pop(group.prompt.group_id)

    async def set_policy(self, published: Published) -> Sequence[DeliveryProof]:
        """Note the learner's version. There is no engine to bring it to, hence no proof."""
        self._learned[published.version.step] = published.version.sha256
        return ()

    def compared(self) -> tuple[int, list[int]]:
        """Of the versions that are known of both, (how many have the recorded hash, the steps of the others)."""
        both = sorted(self._recorded.keys() & self._learned.keys())
        other = [step for step in both if self._recorded[step] != self._learned[step]]
        return len(both) - len(other), other

    def _in_order(self, steps: Sequence[int]) -> Iterator[ScoredGroup]:
        for step in steps:
            groups = read_recorded(self._run_dir, step)
            self._check_step(step, [one.trainable for one in groups])
            for one in groups:
                whole = one.with_prompt(self._prompt_of(one.group_id))
                self._recorded |= {r.policy.step: r.policy.sha256 for r in whole.group.rollouts}
                yield whole

    def _check_step(self, step: int, trainable: Sequence[bool]) -> None:
        """A step ends with the last group that it trains on; so the loop finds the same end."""
        if sum(trainable) != self._groups_per_step or not trainable[-1]:
            raise DataError(
                f"{recorded_file(self._run_dir, step)} holds {len(trainable)} groups, {sum(trainable)} to train on; an "
                f"update ends with the last of loop.groups_per_step={self._groups_per_step} to train on"
            )
