"""One side of the comparison: `fundus-ray train` as it is, then its figures out of the run folder.

    python scripts/side_by_side_ours.py SPEC.json FIGURES.json

SPEC.json holds {"settings": [section.key=value, ...]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_ray.config import load
from fundus_ray.obs.strict_json import read_lines
from fundus_ray.pipeline import run


def main() -> None:
    """Run, read, write."""
    spec, out = map(Path, sys.argv[1:3])
    folder = run(load(None, json.loads(spec.read_text())["settings"]))
    out.write_text(json.dumps(figures_of(folder)))


def figures_of(folder: Path) -> dict[str, Any]:
    """As side_by_side_report.Figures takes them."""
    steps = [dict(line) for line in read_lines(folder / "metrics.jsonl")]
    rows = [list(read_lines(path)) for path in sorted((folder / "rollouts").glob("step-*.jsonl"))]
    return {
        "update_s": update_seconds(json.loads((folder / "trace.json").read_text()), updates=len(steps)),
        "generate_s": [step["time/generate"] for step in steps],
        "score_s": [step["time/score"] for step in steps],
        "train_s": [step["time/update"] + step["time/publish"] + step["time/deliver"] for step in steps],
        "tokens": [[int(row["tokens"]) for row in update] for update in rows],
        "cut": [sum(row["finish_reason"] == "length" for row in update) for update in rows],
        "rewards": [[float(row["total"]) for row in sorted(update, key=place)] for update in rows],
        "held_out": held_out_of(folder),
    }


def update_seconds(trace: Mapping[str, Any], *, updates: int) -> list[float]:
    """From one version being live to the next: all that an update takes, writing the run folder included."""
    live = {
        int(event["args"]["step"]): (event["ts"] + event["dur"]) / 1e6
        for event in trace["traceEvents"]
        if event["name"] == "deliver"
    }
    return [live[step] - live[step - 1] for step in range(1, updates + 1)]


def held_out_of(folder: Path) -> list[bool]:
    """Right or not, of each held-out sample; empty where none was read."""
    for when in ("after", "before"):
        path = folder / f"evaluation-{when}-rows.jsonl"
        if path.is_file():
            return [bool(row["correct"]) for row in sorted(read_lines(path), key=lambda row: str(row["sample"]))]
    return []


def place(row: Mapping[str, Any]) -> tuple[int, int]:
    """Group, and place in it."""
    group, _, number = str(row["id"]).partition(".")
    return int(group), int(number)


if __name__ == "__main__":
    main()
