"""Past rollouts scored under other settings, without generating again.

In: groups of scored lines, and settings. Out: the new scores beside the old ones, a table of both, and a new file.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from fundus_ray.audit.lines import Group
from fundus_ray.audit.score import score_groups
from fundus_ray.config import Config
from fundus_ray.errors import ConfigError
from fundus_ray.obs.report_table import table
from fundus_ray.obs.rollout_lines import scores
from fundus_ray.obs.strict_json import lines_of, write_text

UNSCORABLE = "unscorable"


@dataclass(frozen=True, slots=True)
class Rescored:
    """The old lines and the new, in the same order."""

    old: tuple[dict[str, Any], ...]
    new: tuple[dict[str, Any], ...]


def rescore(config: Config, groups: Sequence[Group]) -> Rescored:
    """Score every group again. Raises SearchError, DataError, ConfigError where knowledge cannot be read."""
    scored = asyncio.run(score_groups(config, [group.rollouts for group in groups]))
    old = [dict(line.fields) for group in groups for line in group.lines]
    outcomes = [scores(group, item) for group in scored for item in group.scored]
    return Rescored(tuple(old), tuple({**line, **new} for line, new in zip(old, outcomes, strict=True)))


def comparison(result: Rescored) -> str:
    """Means of total and parts, before and after, and how alike the two orders of the rollouts are.

    Only rollouts with a score both before and now are compared: those without one are counted.
    """
    before = [pair for pair in zip(result.old, result.new, strict=True) if pair[0]["status"] != UNSCORABLE]
    pairs = [(a, b) for a, b in before if b["status"] != UNSCORABLE]
    parts = list(dict.fromkeys(part for pair in pairs for line in pair for part in line["parts"]))
    rows = [_row("**total**", [(a["total"], b["total"]) for a, b in pairs])]
    rows += [_row(part, [(a["parts"].get(part), b["parts"].get(part)) for a, b in pairs]) for part in parts]
    lines = [table(("", "old mean", "new mean", "change", "rollouts old", "new"), rows), "", _order(pairs)]
    unscored, lost = len(result.old) - len(before), len(before) - len(pairs)
    if lost:
        lines.append(
            f"{lost} rollouts have no score now (the plug-in raised; the file says why) and are not in the table."
        )
    if unscored:
        lines.append(f"{unscored} rollouts had no score before (search or checker was down) and are not in the table.")
    snapshots = {line["snapshot"] for line in result.old} | {line["snapshot"] for line in result.new}
    if len(snapshots) > 1:
        lines.append(f"Knowledge differs: snapshots {', '.join(sorted(snapshots))}.")
    return "\n".join(lines)


def check_out(out: Path, *, source: Path) -> None:
    """To be called before the scoring, which may take hours. Raises ConfigError where a file at `out` would replace
    what was read, or cannot be written."""
    if out.resolve() == source.resolve() or out.resolve().parent == source.resolve():
        raise ConfigError(f"--out {out} would replace the run's own record; give another file")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise ConfigError(f"--out {out} cannot be written: {folder} is not a folder; make it first")
    if out.is_dir():
        raise ConfigError(f"--out {out} cannot be written: it is a folder; give a file in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out} cannot be written: no right to write in {folder}; give another folder")


def write_rescored(result: Rescored, out: Path) -> None:
    """The new lines. Raises ConfigError where they cannot be written."""
    try:
        write_text(out, lines_of(result.new))
    except OSError as err:
        raise ConfigError(f"--out {out} cannot be written: {err}") from None


def _row(name: str, pairs: Sequence[tuple[float | None, float | None]]) -> tuple[object, ...]:
    old, new = ([v for v in side if v is not None] for side in zip(*pairs, strict=True)) if pairs else ([], [])
    means = [math.fsum(side) / len(side) if side else None for side in (old, new)]
    change = f"{means[1] - means[0]:+.3f}" if means[0] is not None and means[1] is not None else "-"
    shown = ("-" if mean is None else f"{mean:.3f}" for mean in means)
    return (name, *shown, change, len(old), len(new))


def _order(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    old, new = [a["total"] for a, _ in pairs], [b["total"] for _, b in pairs]
    if len(set(old)) < 2 or len(set(new)) < 2:
        return "Rank correlation of the totals: not defined, as all old or all new totals are the same."
    return f"Rank correlation of the totals (Spearman): {spearmanr(old, new).statistic:.3f}, n = {len(pairs)}."
