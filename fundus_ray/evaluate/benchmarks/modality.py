"""Which rows of a general medical benchmark are about the retina."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fundus_ray.errors import DataError

# How a modality's name begins, letter case aside.
_OURS = ("fundus", "color fundus", "colour fundus", "oct", "optical coherence tomography", "ultra-wide", "ultrawide")


def kept_modality(name: str, wanted: Sequence[str]) -> bool:
    """Whether a row of this modality is asked: one of `wanted`, or, where that is empty, a fundus or OCT image."""
    return name in wanted if wanted else name.strip().casefold().startswith(_OURS)


def nothing_kept(where: Path, *, seen: Mapping[str, int]) -> DataError:
    """The error that names the modalities which there are."""
    names = ", ".join(f"{name!r} ({count})" for name, count in sorted(seen.items())) or "none"
    return DataError(f"{where}: no question of the wanted modalities; there are: {names}; choose some by --modality")
