"""Which rows of a general medical benchmark are about the retina."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.question import Question
from fundus_ray.types import Modality

# How a modality's name begins, letter case aside.
_OURS = ("fundus", "color fundus", "colour fundus", "oct", "optical coherence tomography", "ultra-wide", "ultrawide")

# Fields of the other two benchmarks, and folders of FunBench's sources, in the order in which they are tried.
_END = r"(?:[ /_-]|$)"
_SHOWN = tuple(
    (modality, re.compile(pattern, re.IGNORECASE))
    for modality, pattern in (
        (Modality.OCT, rf"^(?:OCTDL|OCTID|RETOUCH|UCSD|NEH){_END}|(?:^|[/_-])oct{_END}|optical coherence"),
        (Modality.UWF, rf"^TOP{_END}|ultra-?wide|(?:^|[/_-])uwf{_END}"),
        (
            Modality.CFP,
            rf"^(?:DDR|DeepDRiD|IDRiD|JSIEC|OIA-ODIR|Retinal-Lesions|RFMiD)|(?:^|[/_-])(?:cfp|photo){_END}|fundus",
        ),
    )
)


def kept_modality(name: str, wanted: Sequence[str]) -> bool:
    """Whether a row of this modality is asked: one of `wanted`, or, where that is empty, a fundus or OCT image."""
    return name in wanted if wanted else name.strip().casefold().startswith(_OURS)


def nothing_kept(where: Path, *, seen: Mapping[str, int]) -> DataError:
    """The error that names the modalities which there are."""
    names = ", ".join(f"{name!r} ({count})" for name, count in sorted(seen.items())) or "none"
    return DataError(f"{where}: no question of the wanted modalities; there are: {names}; choose some by --modality")


def shown_modality(question: Question) -> Modality | None:
    """What kind of image it is, as the benchmark's field or, in FunBench, the image's folder says; None = neither."""
    folder = question.image.rpartition("/")[0]
    name = next((question.groups[key] for key in ("modality_type", "modality") if key in question.groups), folder)
    return next((modality for modality, pattern in _SHOWN if pattern.search(name)), None)
