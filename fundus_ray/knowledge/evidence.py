"""Ranked passages in, `Evidence` out: what every store answers with."""

from __future__ import annotations

from collections.abc import Iterable

from fundus_ray.knowledge.passage import Passage
from fundus_ray.types import Evidence


def evidence(ranked: Iterable[tuple[Passage, float]], *, query: str) -> tuple[Evidence, ...]:
    """The passages with their scores, best first, ranks from 1."""
    return tuple(
        Evidence(
            passage_id=passage.id,
            title=passage.title,
            section=passage.section,
            text=passage.text,
            source=passage.source,
            url=passage.url,
            licence=passage.licence,
            score=score,
            rank=rank,
            query=query,
        )
        for rank, (passage, score) in enumerate(ranked, start=1)
    )
