"""A `RolloutGroup` in, a `ScoredGroup` out: the parts of each rollout's score, their weighted mean, and why.

    total = sum(weight x part) / sum(weight) over the parts that apply

    accuracy, format      outcome.py       the answer is right; the chain has the asked form
    consistency           consistency.py   the findings support the chain's OWN answer
    knowledge             knowledge.py     the stated relations are borne out (checkers/, verdicts.py)
    coherence             coherence.py     findings, reasons, conclusion and answer hang together
    grounding             grounding.py     the findings are on the image
    custom                plugin.py        a user's own function, where one is configured

What a part means for which question is the table in tasks.py. A rollout without a readable answer is UNPARSEABLE, the
model's fault: total 0, its parts kept for the audit. Search and checkers that fail are our fault: their errors leave
here, and what becomes of the group is the worker's decision.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from fundus_ray.config import RewardConfig
from fundus_ray.knowledge.records import Records
from fundus_ray.reward.checkers.checker import Checker
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.health import recited
from fundus_ray.reward.lookup import NOTHING_KNOWN, Known, Read, look_up, read_rollout
from fundus_ray.reward.part import Part
from fundus_ray.reward.parts import PARTS, PartScorer
from fundus_ray.reward.plugin import Plugin, PluginFailedError
from fundus_ray.reward.tasks import in_annotators_terms
from fundus_ray.reward.verdicts import Verdicts
from fundus_ray.types import RewardStatus, RolloutGroup, Sample, ScoredGroup, ScoredRollout

CUSTOM = "custom"
UNSCORABLE, NO_SPREAD, NO_PART = "unscorable", "no_spread", "no_part_applies"  # drop reasons
_SAME_TOTAL = 1e-9


class Rubric:
    """Weights, knowledge, evidence search and checker. `evidence` and `verdicts` count what their caches answered."""

    def __init__(
        self,
        config: RewardConfig,
        *,
        records: Records,
        evidence: EvidenceSearch,
        checker: Checker,
        plugin: Plugin | None = None,
        drop_no_spread: bool = False,
    ) -> None:
        self._config = config
        self._vocabulary = records.vocabulary
        self._records = records
        self._scorer = PartScorer(config, records)
        self._plugin = plugin
        self._drop_no_spread = drop_no_spread
        self._weights = weights(config, with_plugin=plugin is not None)
        self.evidence = evidence
        self.verdicts = Verdicts(checker)
        self.snapshot = evidence.snapshot

    async def score_group(self, group: RolloutGroup) -> ScoredGroup:
        """Scores every rollout; the evidence for all of them is one batched search, and new claims are checked in one
        call. A plug-in that raises makes the group unscorable.

        Raises SearchError, CheckerError where these are down, PluginValueError where the plug-in gives no reward.
        """
        started_s, sample = time.time(), group.prompt.sample
        reads = await self._read(group)
        known = await look_up(
            reads, sample, evidence=self.evidence, verdicts=self.verdicts, vocabulary=self._vocabulary
        )
        try:
            custom = await self._custom(reads, known, sample)
        except PluginFailedError as err:
            return self.unscorable(group, reason=str(err), started_s=started_s)
        return await self._scored(group, reads, known=known, custom=custom, masked="", started_s=started_s)

    async def score_without_knowledge(self, group: RolloutGroup, reason: str) -> ScoredGroup:
        """Scores by what needs neither search nor checker; the other parts, a plug-in's too, are masked: `reason`."""
        started_s = time.time()
        reads = await self._read(group)
        known = [NOTHING_KNOWN] * len(reads)
        custom = [Part(None, (f"custom does not count: {reason}",))] * len(reads)
        return await self._scored(group, reads, known=known, custom=custom, masked=reason, started_s=started_s)

    def unscorable(self, group: RolloutGroup, *, reason: str, started_s: float) -> ScoredGroup:
        """The group without scores: not trainable, every total 0.0 only because a number must stand there."""
        scored = tuple(
            ScoredRollout(
                rollout=rollout,
                status=RewardStatus.UNSCORABLE,
                total=0.0,
                parts=dict.fromkeys(self._weights),
                answer=None,
                findings=(),
                claims=(),
                explanation=(f"not scored: {reason}",),
                evidence=(),
                snapshot=self.snapshot,
            )
            for rollout in group.rollouts
        )
        return self._group(group, scored, drop_reason=UNSCORABLE, started_s=started_s)

    async def _read(self, group: RolloutGroup) -> list[Read]:
        sample, most = group.prompt.sample, self._config.max_claims
        return await asyncio.to_thread(
            lambda: [
                read_rollout(rollout, sample, max_claims=most, vocabulary=self._vocabulary)
                for rollout in group.rollouts
            ]
        )

    async def _custom(self, reads: Sequence[Read], known: Sequence[Known], sample: Sample) -> list[Part]:
        if self._plugin is None:
            return [Part(None, ())] * len(reads)
        calls = [(read.rollout, sample, read.reading, k.evidence) for read, k in zip(reads, known, strict=True)]
        values = await self._plugin.values(calls)
        return [Part(value, (f"{self._plugin.setting} gives {value:.3g}",)) for value in values]

    async def _scored(
        self,
        group: RolloutGroup,
        reads: Sequence[Read],
        *,
        known: Sequence[Known],
        custom: Sequence[Part],
        masked: str,
        started_s: float,
    ) -> ScoredGroup:
        sample, rows = group.prompt.sample, list(zip(reads, known, custom, strict=True))
        scored = await asyncio.to_thread(
            lambda: tuple(self._score(r, k, sample, custom=part, masked=masked) for r, k, part in rows)
        )
        return self._group(group, scored, drop_reason=self._drop_reason(scored), started_s=started_s)

    def _group(
        self, group: RolloutGroup, scored: tuple[ScoredRollout, ...], *, drop_reason: str, started_s: float
    ) -> ScoredGroup:
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=not drop_reason,
            drop_reason=drop_reason,
            started_s=started_s,
            finished_s=time.time(),
            weights=dict(self._weights),
        )

    def _score(self, read: Read, known: Known, sample: Sample, *, custom: Part, masked: str) -> ScoredRollout:
        every = {**self._scorer.parts(read, known, sample, masked=masked), CUSTOM: custom}
        parts = {name: every[name] for name in self._weights}
        own = [self._records.get(option, sample.modality) for option in read.answer or ()]
        return ScoredRollout(
            rollout=read.rollout,
            status=RewardStatus.UNPARSEABLE if read.answer is None else RewardStatus.SCORED,
            total=0.0 if read.answer is None else self._total(parts),
            parts={name: part.value for name, part in parts.items()},
            answer=read.answer,
            findings=read.stated,
            claims=known.claims,
            explanation=tuple(f"{name}: {reason}" for name, part in parts.items() for reason in part.reasons),
            evidence=known.evidence,
            snapshot=self.snapshot,
            recited=recited(in_annotators_terms(read.stated, sample), own, annotated=sample.findings),
        )

    def _total(self, parts: Mapping[str, Part]) -> float:
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


def weights(config: RewardConfig, *, with_plugin: bool) -> dict[str, float]:
    """The weight of each part that is scored."""
    return {part: float(getattr(config, part)) for part in ((*PARTS, CUSTOM) if with_plugin else PARTS)}
