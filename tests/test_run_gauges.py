"""A run's metrics, scraped from a real Ray as Prometheus would."""

from __future__ import annotations

import logging
import math
import re
import time
import urllib.request
from collections.abc import Callable

from fundus_ray.run_gauges import RunGauges, exported_name

import ray  # isort: skip  # after fundus_ray, which settles how loud Ray is

WAIT_S = 60.0


def named(line: str) -> str:
    """The name, and for a counter what was counted."""
    kind = re.search(r'kind="(\w+)"', line)
    return line.split("{")[0] + (f" {kind[1]}" if kind else "")


def scraped(port: int, *, until: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Name -> value of what carries our run's label, once that is so."""
    limit = time.monotonic() + WAIT_S
    while time.monotonic() < limit:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = {named(line): float(line.rsplit(" ", 1)[1]) for line in lines if 'run="a-run"' in line}
        if until(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"after {WAIT_S:g} s the exporter shows {found}")


def test_a_metric_keeps_its_words() -> None:
    assert exported_name("reward/total") == "fundus_ray_reward_total"
    assert exported_name("faults/hung") == "fundus_ray_faults"
    assert exported_name("dropped/no_spread") == "fundus_ray_dropped"


def test_a_step_is_exported_and_what_is_counted_adds_up() -> None:
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _system_config={"metrics_report_interval_ms": 200},
    )
    try:
        gauges = RunGauges("a-run")
        gauges.set(1, {"reward/total": 0.25, "engine_restarts": 2.0, "dropped/no_spread": 4.0, "async/ceiling": 1.5})
        gauges.set(
            2, {"reward/total": 0.5, "engine_restarts": 1.0, "dropped/no_spread": 0.0, "async/ceiling": math.nan}
        )
        port = ray.nodes()[0]["MetricsExportPort"]
        found = scraped(port, until=lambda seen: seen.get("ray_fundus_ray_step") == 2.0)
    finally:
        ray.shutdown()
    assert found == {  # what has no value now shows none, and not that of an update before
        "ray_fundus_ray_step": 2.0,
        "ray_fundus_ray_reward_total": 0.5,
        "ray_fundus_ray_engine_restarts_total": 3.0,
        "ray_fundus_ray_dropped_total no_spread": 4.0,
    }
