"""Prometheus and Grafana: what they read exists, and what they show is exported under that name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.dashboard.modules.metrics.dashboards.default_dashboard_panels as ray_panels
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from fundus_ray.config import load
from fundus_ray.learner.batch import pack
from fundus_ray.obs.step_times import step_times
from fundus_ray.reward.rubric import weights
from fundus_ray.run_gauges import STEP, exported_name, is_counted
from fundus_ray.step_metrics import fault_metrics, step_metrics
from fundus_ray.types import DeliveryProof, PolicyVersion, ScoredGroup

CLUSTER = Path(__file__).parents[2] / "cluster"
PARTS = weights(load().reward, with_plugin=False)
DASHBOARD = json.loads((CLUSTER / "grafana/dashboards/fundus_ray.json").read_text())
RULES = yaml.safe_load((CLUSTER / "prometheus/rules.yaml").read_text())
# What loop.py adds to each step; one reason to drop; the parts of a reward, of which the groups here have two.
OF_EVERY_STEP = ("async/ratio", "dropped/no_spread", *fault_metrics([]), *(f"reward/{part}" for part in PARTS))


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL)."""
    for panel in DASHBOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    yield from ((variable["name"], variable["query"]) for variable in DASHBOARD["templating"]["list"])
    yield from ((rule["alert"], rule["expr"]) for group in RULES["groups"] for rule in group["rules"])


EXPRESSIONS = list(expressions())


@pytest.fixture
def exported(make_group: Callable[..., ScoredGroup]) -> set[str]:
    """What Prometheus gets of one update, under its names there."""
    taken = [make_group([0.0, 1.0], group_id=0), make_group([1.0, 1.0], group_id=1)]
    version = PolicyVersion(step=1, sha256="0")
    proof = DeliveryProof(
        worker="rollout-0", version=version, sha256="0", listed=True, probe_error=0.0, probe_shift=None, seconds=0.1
    )
    metrics = step_metrics(
        taken,
        batch=pack(taken, policy_step=0, max_lag=0),
        learner={},
        proofs=[proof],
        times=step_times([], start_s=0.0, end_s=1.0).metrics(),
    )
    names = {f"ray_{exported_name(name)}{'_total' if is_counted(name) else ''}" for name in (*metrics, *OF_EVERY_STEP)}
    return {f"ray_{STEP}", *names}


def test_every_panel_variable_and_alert_reads_a_metric_that_is_exported(exported: set[str]) -> None:
    of_ray = set(re.findall(r"ray_\w+", Path(ray_panels.__file__).read_text()))
    wrong = []
    for where, expression in EXPRESSIONS:
        names = set(re.findall(r"\bray_\w+", expression))
        assert names, where
        wrong += [(where, name) for name in names if name not in exported | of_ray]
    assert wrong == []


def test_no_alert_of_a_stalled_run_before_the_run_is_as_old_as_the_window() -> None:
    (rule,) = [rule for group in RULES["groups"] for rule in group["rules"] if rule["alert"] == "FundusRayNoUpdate"]
    (window,) = re.findall(r"\[(\w+)\]", rule["expr"])
    assert rule["expr"].endswith(f"and ray_{STEP} offset {window}")


def test_expressions_close_what_they_open() -> None:
    for where, expression in EXPRESSIONS:
        for pair in ("()", "{}", "[]"):
            assert expression.count(pair[0]) == expression.count(pair[1]), where
        assert expression.count('"') % 2 == 0, where


def test_prometheus_reads_the_file_that_the_head_writes_and_rules_that_are_there() -> None:
    config = yaml.safe_load((CLUSTER / "prometheus/prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]
    assert [(CLUSTER / "prometheus" / name).is_file() for name in config["rule_files"]] == [True]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [cell for panel in panels for cell in covered(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def covered(at: dict[str, int]) -> Iterator[tuple[int, int]]:
    yield from ((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))


def test_panels_ask_the_data_source_that_is_provisioned() -> None:
    sources: Any = yaml.safe_load((CLUSTER / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    (source,) = sources["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "targets" in panel} == {source["uid"]}
    assert source["url"].startswith("http://127.0.0.1:")
