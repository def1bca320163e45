"""A person's verdict on a drafted record.

In: a draft's file, who judges, what they say. Out: a record in the user's folder that carries who accepted it and when,
or the draft marked as rejected, which nothing reads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import load_records

REJECTED_SUFFIX = ".rejected"


def accept(file: Path, *, by: str, on: str, into: Path) -> Path:
    """Check the (edited) draft as a record and file it under `into`, with who and when. Returns the record's file.

    Raises DataError where the draft is no whole record, says who nobody, or `into` already holds another of its name.
    """
    tree = _draft(file)
    if not by.strip():
        raise DataError("--by must name the person who accepts the record")
    record = {**tree["record"], "accepted": {"by": by.strip(), "on": on}}
    target = into / file.name
    if target.exists():
        raise DataError(f"{target} exists; move it away or accept the draft into another folder")
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as scratch:  # load_records looks at the files of a folder, not below
        part = Path(scratch) / target.name
        part.write_text(yaml.safe_dump({"record": record}, sort_keys=False, allow_unicode=True, width=110))
        load_records(part.parent)
        part.rename(target)
    try:
        load_records(into)
    except DataError:  # it disagrees with a record that is there already
        target.unlink()
        raise
    file.unlink()
    return target


def reject(file: Path, *, by: str, on: str, why: str) -> Path:
    """Keep the draft beside itself, marked with who, when and why. Returns the new file. Raises DataError."""
    tree = _draft(file)
    if not by.strip() or not why.strip():
        raise DataError("--by must name the person who rejects the record, and --why the reason")
    tree["rejected"] = {"by": by.strip(), "on": on, "why": why.strip()}
    target = file.with_name(file.name + REJECTED_SUFFIX)
    target.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110))
    file.unlink()
    return target


def _draft(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise DataError(f"{file}: draft cannot be read: {' '.join(str(err).split())}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("record"), dict) or "draft" not in tree:
        raise DataError(
            f"{file} is not a draft of `fundus-ray knowledge records draft`: it needs `record:` and `draft:`"
        )
    return tree
