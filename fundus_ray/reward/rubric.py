"""A `RolloutGroup` in, a `ScoredGroup` out: the parts of each rollout's score, their weighted mean, and why.

    total = sum(weight x part) / sum(weight) over the parts that apply

A rollout without a readable answer is UNPARSEABLE, the model's fault: total 0, its parts kept for the audit. Where the
knowledge index fails it is our fault: the whole group is UNSCORABLE and not trainable, and its zeros mean nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fundus_ray.config import RewardConfig
from fundus_ray.knowledge.records import Record, Records
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.steps import Reading, read_chain
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.health import recited
from fundus_ray.reward.outcome import accuracy, well_formed
from fundus_ray.reward.process import Part, consistency, grounding, stated_findings
from fundus_ray.types import Evidence, RewardStatus, Rollout, RolloutGroup, Sample, ScoredGroup, ScoredRollout

PARTS = ("accuracy", "format", "consistency", "grounding")
UNSCORABLE, NO_SPREAD, NO_PART = "unscorable", "no_spread", "no_part_applies"  # drop reasons
_SAME_TOTAL = 1e-9


@dataclass(frozen=True, slots=True)
class _Read:
    """What one rollout's chain says, and the query for evidence on it."""

    rollout: Rollout
    reading: Reading
    answer: tuple[str, ...] | None
    stated: tuple[str, ...]
    query: str


class Rubric:
    """Weights, knowledge and evidence search. `evidence` counts how many queries its cache answered."""

    def __init__(
        self,
        config: RewardConfig,
        *,
        vocabulary: Vocabulary,
        records: Records,
        evidence: EvidenceSearch,
        drop_no_spread: bool = False,
    ) -> None:
        self._config = config
        self._vocabulary = vocabulary
        self._records = records
        self._drop_no_spread = drop_no_spread
        self._weights = {part: float(getattr(config, part)) for part in PARTS}
        self.evidence = evidence
        self.snapshot = evidence.snapshot

    async def score_group(self, group: RolloutGroup) -> ScoredGroup:
        """Scores every rollout; the evidence for all of them is one batched search."""
        started_s, sample = time.time(), group.prompt.sample
        reads = await asyncio.to_thread(lambda: [self._read(rollout, sample) for rollout in group.rollouts])
        found = await self.evidence.search([read.query for read in reads])
        pairs = list(zip(reads, found, strict=True))
        scored = await asyncio.to_thread(lambda: tuple(self._score(read, sample, evidence=e) for read, e in pairs))
        drop_reason = self._drop_reason(scored)
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=not drop_reason,
            drop_reason=drop_reason,
            started_s=started_s,
            finished_s=time.time(),
        )

    async def score_without_knowledge(self, group: RolloutGroup, reason: str) -> ScoredGroup:
        """TEMPORARY stand-in until the merge."""
        started_s, sample = time.time(), group.prompt.sample
        scored = tuple(self._score(self._read(r, sample), sample, evidence=()) for r in group.rollouts)
        drop = self._drop_reason(scored)
        return ScoredGroup(group, scored, not drop, drop, started_s, time.time())

    def _read(self, rollout: Rollout, sample: Sample) -> _Read:
        reading = read_chain(rollout.text, self._vocabulary)
        answer, stated = choose(reading.answer, sample.options), stated_findings(reading)
        query = " ".join([*(answer or ()), *(self._vocabulary.name(f) for f in stated)])
        return _Read(rollout, reading, answer, stated, query)

    def _score(self, read: _Read, sample: Sample, *, evidence: tuple[Evidence, ...]) -> ScoredRollout:
        answer = read.answer
        parts = self._parts(read.reading, answer, sample)
        return ScoredRollout(
            rollout=read.rollout,
            status=RewardStatus.UNPARSEABLE if answer is None else RewardStatus.SCORED,
            total=0.0 if answer is None else self._total(parts),
            parts={name: part.value for name, part in parts.items()},
            answer=answer,
            findings=read.stated,
            claims=(),
            explanation=tuple(reason for part in parts.values() for reason in part.reasons),
            evidence=evidence,
            snapshot=self.snapshot,
            recited=recited(read.stated, self._own_records(answer, sample), annotated=sample.findings),
        )

    def _own_records(self, answer: tuple[str, ...] | None, sample: Sample) -> list[Record | None]:
        return [self._records.get(option, sample.modality) for option in answer or ()]

    def _parts(self, reading: Reading, answer: tuple[str, ...] | None, sample: Sample) -> dict[str, Part]:
        return {
            "accuracy": _accuracy(reading, answer, sample),
            "format": Part(well_formed(reading), tuple(f"form: {problem}" for problem in reading.problems)),
            "consistency": self._consistency(reading, answer, sample),
            "grounding": grounding(stated_findings(reading), sample.findings, vocabulary=self._vocabulary),
        }

    def _consistency(self, reading: Reading, answer: tuple[str, ...] | None, sample: Sample) -> Part:
        if answer is None:
            return Part(None, ())
        records = self._own_records(answer, sample)
        part = consistency(reading, answer=answer, records=records, vocabulary=self._vocabulary)
        gated = self._config.gate_consistency and not accuracy(answer, sample.answer)
        if gated and part.value is not None:
            return Part(0.0, (*part.reasons, "consistency is paid only for right answers (reward.gate_consistency)"))
        return part

    def _total(self, parts: dict[str, Part]) -> float:
        applying = [(self._weights[name], part.value) for name, part in parts.items() if part.value is not None]
        weight = sum(w for w, _ in applying)
        return sum(w * value for w, value in applying) / weight if weight else 0.0

    def _drop_reason(self, scored: Sequence[ScoredRollout]) -> str:
        for s in scored:
            applies = any(self._weights[name] for name, value in s.parts.items() if value is not None)
            if not applies and s.status is RewardStatus.SCORED:
                return NO_PART  # its total would be a zero that it did not earn
        totals = [s.total for s in scored]
        return NO_SPREAD if self._drop_no_spread and max(totals) - min(totals) <= _SAME_TOTAL else ""


def unscorable(group: RolloutGroup, *, reason: str, snapshot: str, started_s: float) -> ScoredGroup:
    """The group without scores: not trainable, every total 0.0 only because a number must stand there."""
    scored = tuple(
        ScoredRollout(
            rollout=rollout,
            status=RewardStatus.UNSCORABLE,
            total=0.0,
            parts=dict.fromkeys(PARTS),
            answer=None,
            findings=(),
            claims=(),
            explanation=(f"not scored: {reason}",),
            evidence=(),
            snapshot=snapshot,
        )
        for rollout in group.rollouts
    )
    return ScoredGroup(
        group=group,
        scored=scored,
        trainable=False,
        drop_reason=UNSCORABLE,
        started_s=started_s,
        finished_s=time.time(),
    )


def _accuracy(reading: Reading, answer: tuple[str, ...] | None, sample: Sample) -> Part:
    right = ", ".join(sample.answer)
    if answer is None:
        said = "no answer" if reading.answer is None else f"answer {reading.answer[:40]!r}"
        return Part(0.0, (f"{said} that can be read as an option; right is {right!r}",))
    value = accuracy(answer, sample.answer)
    verdict = "is right" if value else f"is wrong: right is {right!r}"
    return Part(value, (f"answer {', '.join(answer)!r} {verdict}",))
