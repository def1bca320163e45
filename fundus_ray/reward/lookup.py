"""What a group's chains say in, what knowledge says of it out: passages, and a verdict on each stated relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.reasoning.answer import choose
from fundus_ray.reasoning.passage import relation_query
from fundus_ray.reasoning.steps import Reading, Relation, read_chain
from fundus_ray.reward.checkers.checker import CheckedVerdict
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.knowledge import stated_relations
from fundus_ray.reward.part import stated_findings
from fundus_ray.reward.verdicts import Key, Verdicts
from fundus_ray.types import CheckedClaim, Evidence, Rollout, Sample


@dataclass(frozen=True, slots=True)
class Read:
    """What one rollout's chain says, and the query for evidence on it."""

    rollout: Rollout
    reading: Reading
    answer: tuple[str, ...] | None
    stated: tuple[str, ...]  # finding ids
    relations: tuple[Relation, ...]  # those that count
    beyond: int  # relations that are stated but do not count
    query: str


@dataclass(frozen=True, slots=True)
class Known:
    """What knowledge says of one rollout. `evidence`: the passages found for its answer, then those that decided a
    claim, each once."""

    claims: tuple[CheckedClaim, ...]
    evidence: tuple[Evidence, ...]


NOTHING_KNOWN = Known(claims=(), evidence=())


def read_rollout(rollout: Rollout, sample: Sample, *, max_claims: int, vocabulary: Vocabulary) -> Read:
    """Its chain, read."""
    reading = read_chain(rollout.text, vocabulary)
    answer, stated = choose(reading.answer, sample.options), stated_findings(reading)
    relations, beyond = stated_relations(reading, max_claims=max_claims)
    query = " ".join([*(answer or ()), *(vocabulary.name(f) for f in stated)])
    return Read(rollout, reading, answer, stated, relations, beyond, query)


async def look_up(
    reads: Sequence[Read], sample: Sample, *, evidence: EvidenceSearch, verdicts: Verdicts, vocabulary: Vocabulary
) -> list[Known]:
    """One batched search for evidence and for claims that nothing is known of yet, then one check of those.

    Raises SearchError, CheckerError.
    """
    keys = [_key(relation, sample) for read in reads for relation in read.relations]
    decided = verdicts.recall(keys)
    new = [key for key in dict.fromkeys(keys) if key not in decided]
    asked = [*(read.query for read in reads), *(relation_query(key[0], key[1], vocabulary) for key in new)]
    found = await evidence.search(asked)
    decided |= await verdicts.check(dict(zip(new, found[len(reads) :], strict=True)))
    return [
        _known(read, sample, decided=decided, passages=own, checker=verdicts.checker.name)
        for read, own in zip(reads, found[: len(reads)], strict=True)
    ]


def _key(relation: Relation, sample: Sample) -> Key:
    return relation.finding, relation.label, relation.supports, sample.modality


def _known(
    read: Read,
    sample: Sample,
    *,
    decided: Mapping[Key, CheckedVerdict],
    passages: tuple[Evidence, ...],
    checker: str,
) -> Known:
    claims = []
    evidence = {passage.passage_id: passage for passage in passages}
    for relation in read.relations:
        verdict = decided[_key(relation, sample)]
        if verdict.passage is not None:
            evidence.setdefault(verdict.passage.passage_id, verdict.passage)
        claims.append(
            CheckedClaim(
                finding=relation.finding,
                label=relation.label,
                supports=relation.supports,
                start=relation.start,
                end=relation.end,
                verdict=verdict.verdict,
                confidence=verdict.confidence,
                checker=checker,
                passage_id=verdict.passage.passage_id if verdict.passage else "",
                why=verdict.why,
            )
        )
    return Known(claims=tuple(claims), evidence=tuple(evidence.values()))
