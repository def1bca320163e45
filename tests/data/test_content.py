"""What samples hold, as one hash."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plain_sample import SAMPLE

from fundus_ray.data.content import samples_content
from fundus_ray.types import Sample

OTHER = replace(SAMPLE, id="other")


def test_where_an_image_lies_does_not_count() -> None:
    moved = replace(SAMPLE, image=replace(SAMPLE.image, path="/elsewhere/eye.png"))
    assert samples_content([moved, OTHER]) == samples_content([SAMPLE, OTHER])


@pytest.mark.parametrize(
    "samples",
    [
        [OTHER, SAMPLE],
        [SAMPLE],
        [replace(SAMPLE, answer=("another",)), OTHER],
        [replace(SAMPLE, options=(*SAMPLE.options, "more")), OTHER],
        [replace(SAMPLE, findings=("drusen", "haemorrhage")), OTHER],
        [replace(SAMPLE, image=replace(SAMPLE.image, sha256="0" * 64)), OTHER],
    ],
    ids=["order", "number", "answer", "options", "findings", "image"],
)
def test_everything_that_is_learned_from_counts(samples: list[Sample]) -> None:
    assert samples_content(samples) != samples_content([SAMPLE, OTHER])
