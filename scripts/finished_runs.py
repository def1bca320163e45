"""Runs that an earlier call of a script has made: found again by their settings, so that it goes on where it stopped.

In: a whole configuration. Out: the folder of the run that had exactly these settings and came to its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commit_name import commit_name

from fundus_ray.config import Config, to_yaml
from fundus_ray.pipeline import run


def finished(config: Config, *, evaluated: str) -> Path:
    """The run folder of these settings that holds this evaluation ("" = none is asked for), from an earlier call or
    made now."""
    return finished_run(config, evaluated=evaluated) or run(config)


def finished_run(config: Config, *, evaluated: str) -> Path | None:
    """The same, or None where it must be made: any setting that differs makes another run."""
    for folder in sorted(Path(config.run.dir).resolve().glob(f"{config.run.name}-*")):
        if _whole(folder, config, evaluated=evaluated) and (folder / "config.yaml").read_text() == to_yaml(config):
            commit = commit_name(json.loads((folder / "versions.json").read_text()).get("git"))
            print(f"seed {config.run.seed}: taken from {folder}, made at commit {commit}")
            return folder
    return None


def facts_of(run_dir: Path) -> dict[str, Any]:
    """What a run wrote down."""
    facts: dict[str, Any] = json.loads((run_dir / "facts.json").read_text())
    return facts


def _whole(folder: Path, config: Config, *, evaluated: str) -> bool:
    """A run that was stopped has a summary too, of fewer updates."""
    if not (folder / "summary.json").is_file():
        return False
    summary = json.loads((folder / "summary.json").read_text())
    return summary["steps"] == config.loop.steps and (not evaluated or bool(summary.get(evaluated)))
