"""The keys of a benchmark's images, out of its own files.

In: a FunBench task file (`data`: key -> question), an OmniMedVQA file (a list of records with `image_path`), a text
file with one key a line, or a folder of any of them. Out: the keys, each once, in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fundus_ray.errors import DataError


def benchmark_keys(path: Path) -> tuple[str, ...]:
    """Raises DataError where there is no such file, none of a known form in the folder, or no key in it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".json", ".txt") and file.is_file())
    else:
        files = [path]
    keys = tuple(dict.fromkeys(key for file in files for key in _keys(file, lenient=path.is_dir())))
    if not keys:
        raise DataError(
            f"{path} holds no image keys; a FunBench task file, an OmniMedVQA file, a text file with one key a line, "
            "or a folder of them is expected"
        )
    return keys


def _keys(file: Path, *, lenient: bool) -> Iterator[str]:
    """lenient: a JSON file of another kind, as a benchmark's folder holds, has no keys."""
    if file.suffix not in (".json", ".txt"):
        raise DataError(f"{file}: a .json file of the benchmark, or a .txt file with one key a line, is expected")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file} cannot be read: {err}") from None
    if file.suffix != ".json":
        yield from (line.strip() for line in text.splitlines() if line.strip())
        return
    try:
        content: Any = json.loads(text)
    except ValueError as err:
        raise DataError(f"{file} is not JSON: {err}") from None
    if isinstance(content, dict) and isinstance(content.get("data"), dict):
        yield from content["data"]
    elif isinstance(content, list) and all(isinstance(row, dict) and "image_path" in row for row in content):
        yield from (str(row["image_path"]) for row in content)
    elif not lenient:
        raise DataError(f"{file} is neither a FunBench task file (`data`) nor a list of records with `image_path`")
