"""A finished or cut-short run, read back from its folder.

In: the folder that obs/sinks.py wrote. Out: a `RunRecord`, and the `summary.json` made of it. What a run did not get to
(no learner step, no evaluation) is an empty list or None here, and null in the summary.

Facts read, by name, every key optional: "rl": adapter_publishes, adapter_deliveries_proven, dropped {reason: groups},
lag_max; "photo": image, question, text, answer, and any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fundus_ray.errors import DataError
from fundus_ray.obs.step_times import async_ceiling
from fundus_ray.obs.strict_json import NON_FINITE, read_json, read_lines

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything in the folder that the report speaks of."""

    path: Path
    config: Mapping[str, Any]
    versions: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]  # metrics.jsonl, in order of step
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    checkpoints: Mapping[int, Mapping[str, Any]]  # evaluations of checkpoints, by update, in order
    change: Change | None  # of held-out accuracy
    wall_s: Mapping[str, float]
    facts: Mapping[str, Mapping[str, Any]]
    alarms: Sequence[Mapping[str, Any]]  # alarms.jsonl, in order of step
    faults: Sequence[Mapping[str, Any]]  # faults.jsonl, in order of recovery
    quarantined: Sequence[Mapping[str, Any]]  # quarantine.jsonl, one a group that was left out
    last_rollouts: Sequence[Mapping[str, Any]]  # of the last step that wrote any


@dataclass(frozen=True, slots=True)
class Change:
    """Mean change of a 0/1 outcome on the samples that both evaluations scored, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def read_run(run_dir: Path) -> RunRecord:
    """Read the folder. Raises DataError naming what is missing or broken."""
    if not (run_dir / "metrics.jsonl").is_file():
        raise DataError(f"{run_dir} is not a run folder: it has no metrics.jsonl")
    rollout_files = sorted((run_dir / "rollouts").glob("step-*.jsonl"))
    rows = {when: _lines_or_none(run_dir / f"evaluation-{when}-rows.jsonl") for when in ("before", "after")}
    config = run_dir / "config.yaml"
    return RunRecord(
        path=run_dir,
        config=dict(OmegaConf.to_container(OmegaConf.load(config))) if config.exists() else {},  # type: ignore[arg-type]
        versions=_json_or_none(run_dir / "versions.json") or {},
        steps=sorted(read_lines(run_dir / "metrics.jsonl"), key=lambda record: record["step"]),
        before=_json_or_none(run_dir / "evaluation-before.json"),
        after=_json_or_none(run_dir / "evaluation-after.json"),
        checkpoints={
            int(path.stem.removeprefix("evaluation-step-")): read_json(path)
            for path in sorted(run_dir.glob("evaluation-step-*.json"))
        },
        change=paired_change(rows["before"], rows["after"]) if rows["before"] and rows["after"] else None,
        wall_s=_json_or_none(run_dir / "stages.json") or {},
        facts=_json_or_none(run_dir / "facts.json") or {},
        alarms=_lines_or_none(run_dir / "alarms.jsonl") or [],
        faults=_lines_or_none(run_dir / "faults.jsonl") or [],
        quarantined=_lines_or_none(run_dir / "quarantine.jsonl") or [],
        last_rollouts=list(read_lines(rollout_files[-1])) if rollout_files else [],
    )


def summary(record: RunRecord) -> dict[str, Any]:
    """What summary.json holds; null for what the run did not get to.

    Counts are sums over the logged steps, which a resume cuts back to its checkpoint; the fact "starts" adds the
    publications and deliveries of the versions that processes started from.
    """
    starts = record.facts.get("starts", {})
    proven = int(total(record, "delivery/proven")) + int(starts.get("proofs", 0))
    lag_max = largest(record, "lag/max")
    return {
        "before": _evaluation_summary(record.before),
        "after": _evaluation_summary(record.after),
        "steps": len(record.steps),
        "lag_max": None if lag_max is None else int(lag_max),
        "async_ratio": record.config.get("loop", {}).get("async_ratio"),
        "wall_s": dict(record.wall_s),
        "adapter_publishes": len(record.steps) + int(starts.get("publishes", 0)),
        "adapter_deliveries_proven": proven,
        "dropped": dropped(record),
    }


def column(record: RunRecord, name: str) -> tuple[list[int], list[float]]:
    """(steps, values) where the metric was logged; a value that was not finite is NaN."""
    pairs = [(s["step"], math.nan if s[name] is None else float(s[name])) for s in record.steps if name in s]
    return [step for step, _ in pairs], [value for _, value in pairs]


def largest(record: RunRecord, name: str) -> float | None:
    """Over the run; None where the metric was never logged."""
    values = [v for v in column(record, name)[1] if math.isfinite(v)]
    return max(values, default=None)


def total(record: RunRecord, name: str) -> float:
    """Sum over the run of the finite values."""
    return math.fsum(v for v in column(record, name)[1] if math.isfinite(v))


def time_weighted(record: RunRecord, name: str) -> float | None:
    """Mean over the run of a share of each step's time; None where it was never logged."""
    pairs = [(s[name], s["time/step"]) for s in record.steps if s.get(name) is not None and s.get("time/step")]
    return math.fsum(share * t for share, t in pairs) / math.fsum(t for _, t in pairs) if pairs else None


def lag_counts(record: RunRecord) -> dict[int, int]:
    """Trained rollouts by lag in versions."""
    return {int(key): int(value) for key, value in _by_suffix(record, "lag/hist_").items()}


def dropped(record: RunRecord) -> dict[str, int]:
    """Groups by reason, summed over the steps."""
    return {key: int(value) for key, value in _by_suffix(record, "dropped/").items()}


def run_ceiling(record: RunRecord) -> float | None:
    """The asynchronous ceiling of the whole run, from the stages' summed times; None where none was logged.

    Generation is taken as all time in which the rollout workers had a request: over a run that is the work which its
    steps needed.
    """
    busy = [(1 - s["idle/generator"]) * s["time/step"] for s in record.steps if s.get("idle/generator") is not None]
    ceiling = async_ceiling(
        generate_s=math.fsum(busy),
        score_s=total(record, "time/score"),
        update_s=total(record, "time/update"),
        sync_s=total(record, "time/publish") + total(record, "time/deliver"),
    )
    return ceiling if math.isfinite(ceiling) else None


def non_finite(record: RunRecord) -> dict[str, list[int]]:
    """Metrics that were NaN or infinite, with the steps."""
    found: dict[str, list[int]] = {}
    for step in record.steps:
        for name in step.get(NON_FINITE, {}):
            found.setdefault(name, []).append(step["step"])
    return found


def paired_change(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Change | None:
    """Change of accuracy on the samples in both, sample by sample: mean -+ 1.96 s / sqrt(n), s of the differences.

    Narrower than the difference of two independent shares, as both read the same images. None below two samples.
    """
    first = {row["sample"]: bool(row["correct"]) for row in before}
    steps = [int(row["correct"]) - int(first[row["sample"]]) for row in after if row["sample"] in first]
    n = len(steps)
    if n < 2:
        return None
    mean = sum(steps) / n
    half = Z_95 * math.sqrt(sum((d - mean) ** 2 for d in steps) / (n - 1) / n)
    return Change(mean=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half), n=n)


def _by_suffix(record: RunRecord, prefix: str) -> dict[str, float]:
    names = sorted({name for step in record.steps for name in step if name.startswith(prefix)})
    return {name.removeprefix(prefix): total(record, name) for name in names}


def _evaluation_summary(evaluation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    keys = (
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "finding_f1",
        "finding_f1_low",
        "finding_f1_high",
        "n",
        "failed",
    )
    return None if evaluation is None else {key: evaluation.get(key) for key in keys}


def _json_or_none(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _lines_or_none(path: Path) -> list[dict[str, Any]] | None:
    return list(read_lines(path)) if path.exists() else None
