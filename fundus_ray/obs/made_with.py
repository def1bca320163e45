"""What the contents of a folder are made with, so that a second call goes on only with the same.

In: a folder and settings. Out: FOLDER/made_with.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_ray.errors import ConfigError
from fundus_ray.obs.strict_json import read_json, write_json

MADE_WITH = "made_with.json"


def mark_made_with(folder: Path, made_with: Mapping[str, Any], *, empty: bool, said: str) -> None:
    """Say in the folder what is made with. Raises ConfigError where it is not `empty` and says otherwise; `said`: how
    that begins, as "FOLDER holds traces"."""
    path = folder / MADE_WITH
    before = read_json(path) if not empty and path.is_file() else made_with
    odd = next((key for key in made_with if before.get(key) != made_with[key]), None)
    if odd is not None:
        raise ConfigError(f"{said} made with {odd}={before.get(odd)!r}, not {made_with[odd]!r}; take another --out")
    write_json(path, made_with)
