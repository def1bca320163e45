"""What training samples hold, as one hash: equal hashes, order and seed make an equal sequence of prompts.

In: samples. Out: SHA-256 in hex.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from fundus_ray.types import Sample


def samples_content(samples: Iterable[Sample]) -> str:
    """Over everything that prompt and reward read of each sample, in order. Where an image lies does not count, its
    content does."""
    digest = hashlib.sha256()
    for s in samples:
        read = [s.id, s.image.sha256, s.modality, s.question, s.options, s.answer, s.task, s.findings, s.looked_for]
        digest.update(json.dumps(read).encode() + b"\n")
    return digest.hexdigest()
