"""The order in which a question's options are listed, and so which letters they get."""

from __future__ import annotations

from dataclasses import replace

from fundus_ray.types import Sample


def in_order(sample: Sample, *, option_order: str) -> Sample:
    """The sample with its options as `data.option_order` says."""
    return replace(sample, options=tuple(sorted(sample.options))) if option_order == "sorted" else sample
