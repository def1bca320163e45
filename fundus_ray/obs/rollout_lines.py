"""A scored group as flat lines, complete enough to be scored again by hand.

In: a ScoredGroup. Out: one dict a rollout, for rollouts/step-*.jsonl.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fundus_ray.types import ScoredGroup, ScoredRollout


def rollout_lines(scored: ScoredGroup) -> list[dict[str, Any]]:
    """One line a rollout, in the group's order."""
    shared = {**_question(scored), "trainable": scored.trainable, "drop_reason": scored.drop_reason}
    return [{**shared, **_outcome(item)} for item in scored.scored]


def _question(scored: ScoredGroup) -> dict[str, Any]:
    prompt = scored.group.prompt
    sample = prompt.sample
    return {
        "group_id": prompt.group_id,
        "sample": sample.id,
        "image": sample.image.path,
        "image_sha256": sample.image.sha256,
        "modality": sample.modality.value,
        "question": sample.question,
        "options": sample.options,
        "gold_answer": sample.answer,
        "gold_findings": sample.findings,
        "worker": scored.group.worker,
        "generate_s": scored.group.finished_s - scored.group.started_s,
        "score_s": scored.finished_s - scored.started_s,
    }


def _outcome(item: ScoredRollout) -> dict[str, Any]:
    rollout = item.rollout
    tokens = len(rollout.token_ids)
    return {
        "text": rollout.text,
        "finish_reason": rollout.finish_reason,
        "tokens": tokens,
        "total": item.total,
        "parts": item.parts,
        "status": item.status.value,
        "answer": item.answer,
        "findings": item.findings,
        "explanation": item.explanation,
        "evidence": [
            {
                "id": e.passage_id,
                "title": e.title,
                "source": e.source,
                "excerpt": e.text,
                "score": e.score,
                "rank": e.rank,
                "query": e.query,
            }
            for e in item.evidence
        ],
        "snapshot": item.snapshot,
        "policy": asdict(rollout.policy),
        "seed": rollout.seed,
        "behaviour_logprob_mean": sum(rollout.logprobs) / tokens if tokens else None,
    }
