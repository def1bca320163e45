"""From an image's hash, which is how runs name images, back to its file.

In: the run's configuration and a hash. Out: paths, and the samples that show them.
"""

from __future__ import annotations

import re
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.data.jsonl import FindingIds
from fundus_ray.data.source import load_data
from fundus_ray.errors import ConfigError, DataError

SHORTEST = 8


def samples_of_image(config: Config, sha256: str, *, cache_dir: Path, finding_ids: FindingIds) -> dict[str, list[str]]:
    """Sample ids by path of the images whose hash begins so. Raises ConfigError where it is no hash, DataError where no
    image of the data has it, and as `load_data` does."""
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", sha256):
        raise ConfigError(f"{sha256!r} is not the beginning of a SHA-256: give {SHORTEST} to 64 of its digits")
    split = load_data(config, cache_dir=cache_dir, finding_ids=finding_ids)
    found: dict[str, list[str]] = {}
    for half in (split.train, split.evaluation):
        for sample in half:
            if sample.image.sha256.startswith(sha256):
                found.setdefault(sample.image.path, []).append(sample.id)
    if not found:
        origin = config.data.path or f"data.source={config.data.source}"
        raise DataError(f"{origin}: no image has a hash that begins with {sha256}; is this the run's own config.yaml?")
    return found
