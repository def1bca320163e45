"""Groups of chains that no policy has written, to be scored by a reward worker."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_ray.types import ImageRef, Modality, PolicyVersion, Prompt, Rollout, RolloutGroup, Sample


def chain_group(
    number: int,
    texts: Sequence[str],
    *,
    options: Sequence[str],
    answer: str,
    findings: Sequence[str] = (),
    tokens: int = 1,
) -> RolloutGroup:
    """The group of this number: a rollout a text, to one question about a diagnosis on a CFP with `findings`."""
    sample = Sample(
        id=f"s{number}",
        image=ImageRef(path="x.png", sha256="0", width_px=112, height_px=112),
        modality=Modality.CFP,
        question="What is the most likely diagnosis?",
        options=tuple(options),
        answer=(answer,),
        task="diagnosis",
        source="made up",
        split="train",
        patient_id=f"p{number}",
        findings=tuple(findings),
    )
    rollouts = tuple(
        Rollout((1,) * tokens, (-1.0,) * tokens, text, "stop", seed=seed, policy=PolicyVersion(0, "0"))
        for seed, text in enumerate(texts)
    )
    return RolloutGroup(Prompt(sample, system="", user="", group_id=number, seed=0), (1,), rollouts, "w0", 0.0, 0.0)
