"""All parts of one rollout's score: what was read and what is known in, each part with its reasons out."""

from __future__ import annotations

from fundus_ray.config import RewardConfig
from fundus_ray.knowledge.records import Records
from fundus_ray.reasoning.steps import Reading
from fundus_ray.reward.coherence import coherence
from fundus_ray.reward.consistency import consistency
from fundus_ray.reward.grounding import grounding, lesion_grounding
from fundus_ray.reward.knowledge import knowledge
from fundus_ray.reward.lookup import Known, Read
from fundus_ray.reward.outcome import accuracy, problems_of_form, well_formed
from fundus_ray.reward.part import Part
from fundus_ray.reward.tasks import (
    Scope,
    TaskRule,
    asked_lesion,
    concludes,
    expected,
    in_annotators_terms,
    rule_of,
)
from fundus_ray.types import CheckedClaim, Sample

PARTS = ("accuracy", "format", "consistency", "knowledge", "coherence", "grounding")


class PartScorer:
    """The parts by the settings, the records, and the table of questions (tasks.py)."""

    def __init__(self, config: RewardConfig, records: Records) -> None:
        self._config = config
        self._records = records
        self._vocabulary = records.vocabulary

    def parts(self, read: Read, known: Known, sample: Sample, *, masked: str) -> dict[str, Part]:
        """PARTS, in their order. `masked`: why nothing is known; "" where something is."""
        rule = rule_of(sample, self._records)
        concluded = read.answer is not None and concludes(
            rule, sample, reading=read.reading, answer=read.answer, vocabulary=self._vocabulary
        )
        return {
            "accuracy": _accuracy(read.reading, read.answer, sample),
            "format": Part(well_formed(read.reading), problems_of_form(read.reading)),
            "consistency": self._consistency(read, sample, rule=rule, concluded=concluded),
            "knowledge": self._knowledge(read, known, rule=rule, masked=masked),
            "coherence": self._coherence(read, concluded=concluded),
            "grounding": self._grounding(read, sample, rule=rule),
        }

    def _consistency(self, read: Read, sample: Sample, *, rule: TaskRule, concluded: bool) -> Part:
        if read.answer is None:
            return Part(None, ())
        asked_for = expected(rule, sample, answer=read.answer, records=self._records)
        if isinstance(asked_for, str):
            return Part(None, (asked_for,))
        part = consistency(
            read.reading,
            answer=read.answer,
            concluded=concluded,
            expected=asked_for,
            max_claims=self._config.max_claims,
            vocabulary=self._vocabulary,
        )
        if self._config.gate_consistency and not accuracy(read.answer, sample.answer):
            return Part(0.0, (*part.reasons, "consistency is paid only for right answers (reward.gate_consistency)"))
        return part

    def _knowledge(self, read: Read, known: Known, *, rule: TaskRule, masked: str) -> Part:
        if masked:
            return Part(None, (f"knowledge does not count: {masked}",))
        named = [self._in_words(claim) for claim in known.claims]
        return knowledge(known.claims, beyond=read.beyond, applies=rule.knowledge, names=named)

    def _coherence(self, read: Read, *, concluded: bool) -> Part:
        if read.answer is None:
            return Part(None, ())
        labels = {label for option in read.answer if (label := self._vocabulary.label(option)) is not None}
        return coherence(
            read.reading, answer=read.answer, concluded=concluded, labels=labels, vocabulary=self._vocabulary
        )

    def _grounding(self, read: Read, sample: Sample, *, rule: TaskRule) -> Part:
        if rule.grounding is Scope.NOTHING:
            return Part(None, ("grounding does not apply to this kind of question",))
        if rule.grounding is Scope.IMAGE:
            stated = in_annotators_terms(read.stated, sample)
            return grounding(stated, sample.findings, vocabulary=self._vocabulary)
        asked = asked_lesion(sample, self._vocabulary)
        if not asked:
            return Part(None, ("grounding does not apply: the question does not name one finding",))
        return lesion_grounding(read.stated, sample.findings, asked=asked, vocabulary=self._vocabulary)

    def _in_words(self, claim: CheckedClaim) -> str:
        return f"{self._vocabulary.name(claim.finding)} {'for' if claim.supports else 'against'} {claim.label}"


def _accuracy(reading: Reading, answer: tuple[str, ...] | None, sample: Sample) -> Part:
    right = ", ".join(sample.answer)
    if answer is None:
        said = "no answer" if reading.answer is None else f"answer {reading.answer[:40]!r}"
        return Part(0.0, (f"{said} that can be read as an option; right is {right!r}",))
    value = accuracy(answer, sample.answer)
    verdict = "is right" if value else f"is wrong: right is {right!r}"
    return Part(value, (f"answer {', '.join(answer)!r} {verdict}",))
