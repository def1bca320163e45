"""A scored group as a row of a table, and back: each number bit for bit.

In: a ScoredGroup. Out: a dict by `SCHEMA`; and back a `RecordedGroup`, which holds the sample's id and its image's
hash, not the sample: whoever reads it gives the prompt again, which is compared. A row that contradicts itself raises
DataError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from fundus_ray.errors import DataError
from fundus_ray.types import (
    CheckedClaim,
    Evidence,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    ScoredGroup,
    ScoredRollout,
    ScoringCost,
    Verdict,
)

_REFUSED = (KeyError, TypeError, ValueError, AttributeError)  # what a row of another form raises


def _of(kind: pa.DataType, *names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names]


_TEXTS = pa.list_(pa.string())
_PART = pa.map_(pa.string(), pa.float64())
_CLAIM = pa.struct(
    [
        *_of(pa.string(), "finding", "label"),
        ("supports", pa.bool_()),
        *_of(pa.int32(), "start", "end"),
        ("verdict", pa.string()),
        ("confidence", pa.float64()),
        *_of(pa.string(), "checker", "passage_id", "why"),
    ]
)
_EVIDENCE = pa.struct(
    [
        *_of(pa.string(), "passage_id", "title", "section", "text", "source", "url", "licence"),
        ("score", pa.float64()),
        ("rank", pa.int32()),
        ("query", pa.string()),
    ]
)
_ROLLOUT = pa.struct(
    [
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float64())),
        *_of(pa.string(), "text", "finish_reason"),
        *_of(pa.int64(), "seed", "policy_step"),
        *_of(pa.string(), "policy_sha256", "status"),
        ("total", pa.float64()),
        ("parts", _PART),  # null = the part does not apply
        ("answer", _TEXTS),  # null = no readable answer
        ("findings", _TEXTS),
        ("claims", pa.list_(_CLAIM)),
        ("explanation", _TEXTS),
        ("evidence", pa.list_(_EVIDENCE)),
        ("snapshot", pa.string()),
        ("recited", _TEXTS),  # null = not known
    ]
)
_COST = pa.struct(
    [
        *_of(pa.int64(), "cache_hits", "cache_misses", "failures", "tries"),
        ("held_s", pa.float64()),
        *_of(pa.string(), "breaker", "outage"),
    ]
)
SCHEMA = pa.schema(
    [
        *_of(pa.int64(), "group_id", "seed"),
        *_of(pa.string(), "sample", "image_sha256"),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("rollouts", pa.list_(_ROLLOUT)),
        ("worker", pa.string()),
        *_of(pa.float64(), "generate_started_s", "generate_finished_s"),
        ("trainable", pa.bool_()),
        ("drop_reason", pa.string()),
        *_of(pa.float64(), "score_started_s", "score_finished_s"),
        ("cost", _COST),
        ("weights", _PART),
    ]
)


@dataclass(frozen=True, slots=True)
class RecordedGroup:
    """A group as it was recorded, all but its prompt."""

    where: str  # file and row, as in errors
    group_id: int
    seed: int
    sample: str
    image_sha256: str
    prompt_token_ids: tuple[int, ...]
    scored: tuple[ScoredRollout, ...]
    worker: str
    generated_s: tuple[float, float]
    trainable: bool
    drop_reason: str
    scored_s: tuple[float, float]
    cost: ScoringCost
    weights: dict[str, float]

    def with_prompt(self, prompt: Prompt) -> ScoredGroup:
        """The whole group. Raises DataError where it was drawn for another prompt than this one."""
        found = (prompt.group_id, prompt.sample.id, prompt.sample.image.sha256, prompt.seed)
        recorded = (self.group_id, self.sample, self.image_sha256, self.seed)
        if found != recorded:
            raise DataError(
                f"{self.where}: group {recorded[0]} is of sample {recorded[1]}, image {recorded[2][:12]}, seed "
                f"{recorded[3]}, but the data give it {found[1]}, {found[2][:12]}, {found[3]}; leave data.*, run.seed "
                "and rollout.group_size as they were"
            )
        started, finished = self.generated_s
        group = RolloutGroup(
            prompt=prompt,
            prompt_token_ids=self.prompt_token_ids,
            rollouts=tuple(item.rollout for item in self.scored),
            worker=self.worker,
            started_s=started,
            finished_s=finished,
        )
        return ScoredGroup(
            group, self.scored, self.trainable, self.drop_reason, *self.scored_s, cost=self.cost, weights=self.weights
        )


def row_of(scored: ScoredGroup) -> dict[str, Any]:
    """By `SCHEMA`."""
    group, prompt = scored.group, scored.group.prompt
    return {
        "group_id": prompt.group_id,
        "seed": prompt.seed,
        "sample": prompt.sample.id,
        "image_sha256": prompt.sample.image.sha256,
        "prompt_token_ids": group.prompt_token_ids,
        "rollouts": [_rollout_row(item) for item in scored.scored],
        "worker": group.worker,
        "generate_started_s": group.started_s,
        "generate_finished_s": group.finished_s,
        "trainable": scored.trainable,
        "drop_reason": scored.drop_reason,
        "score_started_s": scored.started_s,
        "score_finished_s": scored.finished_s,
        "cost": asdict(scored.cost),
        "weights": list(scored.weights.items()),
    }


def _rollout_row(item: ScoredRollout) -> dict[str, Any]:
    rollout = item.rollout
    return {
        "token_ids": rollout.token_ids,
        "logprobs": rollout.logprobs,
        "text": rollout.text,
        "finish_reason": rollout.finish_reason,
        "seed": rollout.seed,
        "policy_step": rollout.policy.step,
        "policy_sha256": rollout.policy.sha256,
        "status": item.status.value,
        "total": item.total,
        "parts": list(item.parts.items()),
        "answer": item.answer,
        "findings": item.findings,
        "claims": [{**asdict(claim), "verdict": claim.verdict.value} for claim in item.claims],
        "explanation": item.explanation,
        "evidence": [asdict(passage) for passage in item.evidence],
        "snapshot": item.snapshot,
        "recited": item.recited,
    }


def group_of_row(row: Mapping[str, Any], *, where: str) -> RecordedGroup:
    """`where`: file and row. Raises DataError where a value is missing, or two contradict each other."""
    _whole(row, where=where)
    _whole(row["cost"], where=f"{where} cost")
    if row["trainable"] and not row["rollouts"]:  # one that was never written, since its sample is left out, has none
        raise DataError(f"{where} is trainable but holds no rollouts")
    if row["trainable"] is bool(row["drop_reason"]):
        raise DataError(f"{where}: trainable={row['trainable']} contradicts drop_reason={row['drop_reason']!r}")
    return RecordedGroup(
        where=where,
        group_id=row["group_id"],
        seed=row["seed"],
        sample=row["sample"],
        image_sha256=row["image_sha256"],
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        scored=tuple(_scored(item, where=f"{where} rollout {at}") for at, item in enumerate(row["rollouts"])),
        worker=row["worker"],
        generated_s=(row["generate_started_s"], row["generate_finished_s"]),
        trainable=row["trainable"],
        drop_reason=row["drop_reason"],
        scored_s=(row["score_started_s"], row["score_finished_s"]),
        cost=ScoringCost(**row["cost"]),
        weights=dict(row["weights"]),
    )


def _scored(row: Mapping[str, Any], *, where: str) -> ScoredRollout:
    if row is None:
        raise DataError(f"{where} is null")
    _whole(row, where=where, may_be_null=("answer", "recited"))
    for name in ("claims", "evidence"):
        for at, item in enumerate(row[name]):
            _whole(item, where=f"{where} {name} {at}")
    ids, logprobs = row["token_ids"], row["logprobs"]
    if len(ids) != len(logprobs):
        raise DataError(f"{where} has {len(ids)} tokens, {len(logprobs)} log-probabilities")
    if not all(math.isfinite(value) for value in (*logprobs, row["total"])):
        raise DataError(f"{where} has a log-probability or a total that is not finite")
    try:
        return ScoredRollout(
            rollout=Rollout(
                token_ids=tuple(ids),
                logprobs=tuple(logprobs),
                text=row["text"],
                finish_reason=row["finish_reason"],
                seed=row["seed"],
                policy=PolicyVersion(step=row["policy_step"], sha256=row["policy_sha256"]),
            ),
            status=RewardStatus(row["status"]),
            total=row["total"],
            parts=dict(row["parts"]),
            answer=_texts(row["answer"]),
            findings=tuple(row["findings"]),
            claims=tuple(CheckedClaim(**{**claim, "verdict": Verdict(claim["verdict"])}) for claim in row["claims"]),
            explanation=tuple(row["explanation"]),
            evidence=tuple(Evidence(**passage) for passage in row["evidence"]),
            snapshot=row["snapshot"],
            recited=_texts(row["recited"]),
        )
    except _REFUSED as err:
        raise DataError(f"{where} is no scored rollout: {' '.join(str(err).split())}") from None


def _whole(row: Mapping[str, Any], *, where: str, may_be_null: Sequence[str] = ()) -> None:
    """No value, and no token of a list, may be missing."""
    for name, value in row.items():
        if name in may_be_null:
            continue
        if value is None or (isinstance(value, list) and None in value):
            raise DataError(f"{where}: {name} is null, or holds one")


def _texts(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
