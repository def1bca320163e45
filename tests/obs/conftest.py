"""Records to log: small, complete, with values that a test can foresee."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fundus_ray.types import (
    Evidence,
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
    ScoredRollout,
)

MakeGroup = Callable[..., ScoredGroup]


@pytest.fixture
def make_group(tmp_path: Path) -> MakeGroup:
    """`make_group(totals, group_id=0, step=0)`: one rollout a total; a total of None is unscorable."""
    image = tmp_path / "eye one.png"
    image.write_bytes(b"not read")

    def make(totals: list[float | None], *, group_id: int = 0, step: int = 0) -> ScoredGroup:
        sample = Sample(
            id=f"phantom-{group_id}",
            image=ImageRef(path=str(image), sha256="ab" * 32, width_px=112, height_px=112),
            modality=Modality.CFP,
            question="What is the most likely diagnosis?",
            options=("normal", "glaucoma"),
            answer=("glaucoma",),
            task="diagnosis",
            source="phantoms",
            split="train",
            patient_id=f"p{group_id}",
            findings=("cup_enlarged",),
        )
        prompt = Prompt(sample=sample, system="s", user="u", group_id=group_id, seed=100 * group_id)
        rollouts = tuple(_rollout(total, seed=100 * group_id + i, step=step) for i, total in enumerate(totals))
        group = RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(1, 2),
            rollouts=rollouts,
            worker="rollout-0",
            started_s=10.0,
            finished_s=12.5,
        )
        scored = tuple(_scored(r, total) for r, total in zip(rollouts, totals, strict=True))
        trainable = None not in totals
        return ScoredGroup(
            group=group,
            scored=scored,
            trainable=trainable,
            drop_reason="" if trainable else "unscorable",
            started_s=12.5,
            finished_s=12.75,
        )

    return make


def _rollout(total: float | None, *, seed: int, step: int) -> Rollout:
    return Rollout(
        token_ids=(5, 6),
        logprobs=(-0.5, -0.25),
        text=f"<think>Findings: none. Conclusion: glaucoma.</think><answer>B</answer> {total}",
        finish_reason="stop",
        seed=seed,
        policy=PolicyVersion(step=step, sha256="cd" * 32),
    )


def _scored(rollout: Rollout, total: float | None) -> ScoredRollout:
    passage = Evidence(
        passage_id="glaucoma-1",
        title="Glaucoma",
        section="",
        url="",
        licence="CC0",
        text="An enlarged cup\nis typical.",
        source="shipped",
        score=3.5,
        rank=1,
        query="glaucoma cup",
    )
    return ScoredRollout(
        rollout=rollout,
        status=RewardStatus.UNSCORABLE if total is None else RewardStatus.SCORED,
        total=0.0 if total is None else total,
        parts={"accuracy": 1.0, "format": 1.0, "grounding": None},
        answer=("glaucoma",),
        findings=(),
        claims=(),
        explanation=("accuracy 1: the answer is glaucoma",),
        evidence=(passage,),
        snapshot="index-1",
    )
