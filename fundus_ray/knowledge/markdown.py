"""Passages of a folder, all or none, with the section in the title: what an index of one text field reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge.ingest import read_folder as _read
from fundus_ray.knowledge.passage import Passage as Passage


def read_folder(folder: Path, *, prefix: str = "") -> tuple[Passage, ...]:
    """Raises DataError naming the first file that cannot be read."""
    found = _read(folder, prefix=prefix, tokens=KnowledgeConfig().passage_tokens)
    if found.problems:
        raise DataError(found.problems[0])
    return tuple(replace(p, title=f"{p.title}: {p.section}" if p.section else p.title) for p in found.passages)
