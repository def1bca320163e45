"""The default checker: domain-knowledge records first, then what the retrieved passages relate themselves.

Deterministic, no model, well under a millisecond a claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fundus_ray.knowledge.records import Record, Records
from fundus_ray.reasoning.passage import passage_words, states
from fundus_ray.reasoning.steps import read_chain
from fundus_ray.reward.checkers.checker import CheckedVerdict, Claim
from fundus_ray.types import Evidence, Modality, Verdict

BY_RECORD, BY_PASSAGE = 1.0, 0.75  # confidence: a reviewed rule; a sentence read by a grammar
CONTRADICTING = "contradicting"
_MODALITY = {  # as sections' headings write it
    Modality.CFP: re.compile(r"\bCFP\b|\bphotographs?\b", re.IGNORECASE),
    Modality.OCT: re.compile(r"\bOCT\b|\boptical coherence tomography\b", re.IGNORECASE),
    Modality.UWF: re.compile(r"\bUWF\b|\bultra-?wide", re.IGNORECASE),
}


class RecordChecker:
    """The record of (label, modality) decides where it lists the finding:

        the record says                 the claim says "for"    the claim says "against"
        required, any_of, supportive    SUPPORTED               CONTRADICTED
        contradicting                   CONTRADICTED            SUPPORTED

    Where it does not list the finding, or there is none, a passage decides that relates the two in a sentence of its
    own, read by the reader of chains ("drusen are typical of age-related macular degeneration"): it says the same, or
    the opposite. Else NOT_FOUND. That a passage names both is not enough: a paragraph on telling diseases apart names
    signs of either, and a policy would learn to relate whatever stands together.

    The passage kept is the one that decided; where the record did, the first that states finding and label. One whose
    section is about other modalities alone ("Signs on OCT", for a colour photograph) comes after all the others.
    """

    name = "record"

    def __init__(self, records: Records) -> None:
        self._records = records
        self._vocabulary = records.vocabulary

    async def check(self, claims: Sequence[Claim]) -> list[CheckedVerdict]:
        """Never raises."""
        return [self._check(claim) for claim in claims]

    async def close(self) -> None:
        """Nothing runs."""

    def _check(self, claim: Claim) -> CheckedVerdict:
        record = self._records.get(claim.label, claim.modality)
        role = _role(record, claim.finding)
        if role is None:
            return self._by_passages(claim)
        agrees = (role != CONTRADICTING) == claim.supports
        return CheckedVerdict(
            verdict=Verdict.SUPPORTED if agrees else Verdict.CONTRADICTED,
            confidence=BY_RECORD,
            passage=self._first_that_states(claim),
            why=f"the record of {claim.label} ({claim.modality.value}) lists it as {role}",
        )

    def _by_passages(self, claim: Claim) -> CheckedVerdict:
        for passage in _own_modality_first(claim):
            related = self._relates(passage, claim)
            if related:
                says = "says the same" if related == {claim.supports} else "says the opposite"
                verdict = Verdict.SUPPORTED if related == {claim.supports} else Verdict.CONTRADICTED
                return CheckedVerdict(verdict, BY_PASSAGE, passage, f"passage {passage.passage_id} {says}")
        return CheckedVerdict(Verdict.NOT_FOUND, BY_RECORD, None, f"no record or passage relates it to {claim.label}")

    def _relates(self, passage: Evidence, claim: Claim) -> set[bool]:
        """What the passage says of the pair: for, against, or nothing; a passage that says both says nothing."""
        relations = read_chain(passage_words(passage), self._vocabulary).relations
        said = {r.speaks_for for r in relations if (r.finding, r.label) == (claim.finding, claim.label)}
        return said if len(said) == 1 else set()

    def _first_that_states(self, claim: Claim) -> Evidence | None:
        return next(
            (
                passage
                for passage in _own_modality_first(claim)
                if states(passage, finding=claim.finding, label=claim.label, vocabulary=self._vocabulary)
            ),
            None,
        )


def _own_modality_first(claim: Claim) -> list[Evidence]:
    """Best first within those that may be about the claim's modality, and within those that are not."""

    def of_others(passage: Evidence) -> bool:
        named = {modality for modality, words in _MODALITY.items() if words.search(passage.section)}
        return bool(named) and claim.modality not in named

    return sorted(claim.passages, key=of_others)


def _role(record: Record | None, finding: str) -> str | None:
    """How the record lists the finding; None where it does not."""
    if record is None:
        return None
    roles = (
        ("required", record.required),
        ("one of a group of which any is required", record.decisive),
        ("supportive", record.supportive),
        (CONTRADICTING, record.contradicting),
    )
    return next((role for role, findings in roles if finding in findings), None)
