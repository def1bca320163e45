"""A sample and prompts of it for tests that look at neither question nor image."""

from __future__ import annotations

from dataclasses import replace

from fundus_ray.types import ImageRef, Modality, Prompt, Sample

SAMPLE = Sample(
    id="s",
    image=ImageRef(path="s.png", sha256="0", width_px=28, height_px=28),
    modality=Modality.CFP,
    question="?",
    options=("a", "b"),
    answer=("a",),
    task="diagnosis",
    source="test",
    split="train",
    patient_id="p",
)


def prompt(group_id: int) -> Prompt:
    """Of that sample, each group of another one by its id."""
    return Prompt(sample=replace(SAMPLE, id=f"s{group_id}"), system="", user="", group_id=group_id, seed=0)
