"""A run's metrics for Prometheus, by the exporter that every Ray node has.

In: each step's metrics. Out: for `reward/total` the gauge `fundus_ray_reward_total`, which Prometheus sees as
`ray_fundus_ray_reward_total`, as Ray puts its name before all. What is counted is a counter, so that nothing is lost
between two scrapes: `dropped/REASON` is `ray_fundus_ray_dropped_total` with the label `kind`, and faults likewise.
All carry the label `run`, the run folder's name. A metric that has no value (NaN) is not shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")  # before Ray is imported: see actors.py

from ray.util.metrics import Counter, Gauge

STEP = "fundus_ray_step"


def is_counted(metric: str) -> bool:
    """Whether it says how many since the step before; all other metrics are a step's state."""
    return metric.startswith(("dropped/", "faults/")) or metric == "engine_restarts"


def exported_name(metric: str) -> str:
    """The name without Ray's own prefix; that of a counter, also without the `_total` that the exporter gives it."""
    name = metric.partition("/")[0] if is_counted(metric) else metric
    return "fundus_ray_" + re.sub(r"[^a-zA-Z0-9]+", "_", name).strip("_")


class RunGauges:
    """One run's gauges and counters, made as their names first come."""

    def __init__(self, run: str) -> None:
        """run: the run folder's name. Ray must be joined before the first step."""
        self._run = run
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}

    def set(self, step: int, metrics: Mapping[str, float]) -> None:
        """What the exporter shows from now on."""
        self._show(STEP, step, description="policy updates done")
        for metric, value in metrics.items():
            if not is_counted(metric):
                self._show(exported_name(metric), value, description=f"{metric} of the last update")
            elif value > 0:
                self._count(metric, value)

    def _show(self, name: str, value: float, *, description: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, description=description, tag_keys=("run",))
        self._gauges[name].set(value, tags={"run": self._run})

    def _count(self, metric: str, value: float) -> None:
        name = exported_name(metric)
        if name not in self._counters:
            self._counters[name] = Counter(name, description=f"{name}, all updates", tag_keys=("run", "kind"))
        self._counters[name].inc(value, tags={"run": self._run, "kind": metric.partition("/")[2]})
