"""The commit that figures were made at, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def commit_name(git: Mapping[str, Any] | None) -> str:
    """Of `git` in versions.json: twelve digits, and whether files differed from it."""
    if not git:
        return "unknown"
    changed = {True: " with local changes", False: "", None: " (local changes unknown)"}[git["dirty"]]
    return f"{git['commit'][:12]}{changed}"
