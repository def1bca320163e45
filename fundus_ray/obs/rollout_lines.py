"""A scored group as flat lines, complete enough to be read by a clinician and to be scored again.

In: a ScoredGroup. Out: one dict a rollout, for rollouts/step-*.jsonl. And back: the group of lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fundus_ray.types import (
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
    ScoredRollout,
)


def rollout_lines(scored: ScoredGroup, *, image_paths: bool) -> list[dict[str, Any]]:
    """One line a rollout, in the group's order. `id` is its group's number and its place in the group. image_paths:
    name the image's path and the patient; else "", and the image is known by its hash."""
    group_id, question = scored.group.prompt.group_id, _question(scored, image_paths=image_paths)
    return [
        {"id": f"{group_id}.{place}", **question, **_generation(item.rollout), **scores(scored, item)}
        for place, item in enumerate(scored.scored)
    ]


def scores(scored: ScoredGroup, item: ScoredRollout) -> dict[str, Any]:
    """What scoring adds to a line, and what scoring it again replaces."""
    return {
        "total": item.total,
        "parts": item.parts,
        "weights": scored.weights,
        "status": item.status.value,
        "answer": item.answer,
        "findings": item.findings,
        "recited": item.recited,
        "claims": [{**asdict(claim), "verdict": claim.verdict.value} for claim in item.claims],
        "explanation": item.explanation,
        "evidence": [
            {
                "id": e.passage_id,
                "title": e.title,
                "section": e.section,
                "source": e.source,
                "url": e.url,
                "licence": e.licence,
                "excerpt": e.text,
                "score": e.score,
                "rank": e.rank,
                "query": e.query,
            }
            for e in item.evidence
        ],
        "snapshot": item.snapshot,
        "trainable": scored.trainable,
        "drop_reason": scored.drop_reason,
        "outage": scored.cost.outage,
        "held_s": scored.cost.held_s,
    }


def group_of(lines: Sequence[Mapping[str, Any]]) -> RolloutGroup:
    """The group that the lines were written from, to be scored again; tokens and logprobs are not kept in lines.

    Lines from elsewhere are checked before they come here (audit/line_form.py).
    """
    first = lines[0]
    findings = first["gold_findings"]
    sample = Sample(
        id=str(first["sample"]),
        image=ImageRef(str(first["image"]), str(first["image_sha256"]), *map(int, first["image_px"])),
        modality=Modality(first["modality"]),
        question=str(first["question"]),
        options=tuple(map(str, first["options"])),
        answer=tuple(map(str, first["gold_answer"])),
        task=str(first["task"]),
        source=str(first["source"]),
        split=str(first["split"]),
        patient_id=str(first["patient_id"]),
        findings=None if findings is None else tuple(map(str, findings)),
    )
    return RolloutGroup(
        prompt=Prompt(sample, system="", user="", group_id=int(first["group_id"]), seed=int(first["seed"])),
        prompt_token_ids=(),
        rollouts=tuple(_rollout(line) for line in lines),
        worker=str(first["worker"]),
        started_s=0.0,
        finished_s=0.0,
    )


def _rollout(line: Mapping[str, Any]) -> Rollout:
    policy = PolicyVersion(step=int(line["policy"]["step"]), sha256=str(line["policy"]["sha256"]))
    return Rollout((), (), line["text"], str(line["finish_reason"]), seed=int(line["seed"]), policy=policy)


def _question(scored: ScoredGroup, *, image_paths: bool) -> dict[str, Any]:
    prompt = scored.group.prompt
    sample = prompt.sample
    return {
        "group_id": prompt.group_id,
        "sample": sample.id,
        "image": sample.image.path if image_paths else "",
        "image_sha256": sample.image.sha256,
        "image_px": (sample.image.width_px, sample.image.height_px),
        "modality": sample.modality.value,
        "question": sample.question,
        "options": sample.options,
        "gold_answer": sample.answer,
        "gold_findings": sample.findings,
        "task": sample.task,
        "source": sample.source,
        "split": sample.split,
        "patient_id": sample.patient_id if image_paths else "",
        "worker": scored.group.worker,
        "generate_s": scored.group.finished_s - scored.group.started_s,
        "score_s": scored.finished_s - scored.started_s,
    }


def _generation(rollout: Rollout) -> dict[str, Any]:
    tokens = len(rollout.token_ids)
    return {
        "text": rollout.text,
        "finish_reason": rollout.finish_reason,
        "tokens": tokens,
        "policy": asdict(rollout.policy),
        "seed": rollout.seed,
        "behaviour_logprob_mean": sum(rollout.logprobs) / tokens if tokens else None,
    }
