"""The files of Ray's cluster launcher, read as `ray up` reads them before it touches a machine."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

FOLDER = Path(__file__).parents[2] / "cluster" / "ray"
NAMES = sorted(file.name for file in FOLDER.glob("*.yaml"))
EACH = pytest.mark.parametrize("name", NAMES)
START = ("head_start_ray_commands", "worker_start_ray_commands")


def as_written(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


def as_ray_reads(config: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_both_kinds_of_cluster_are_there() -> None:
    assert NAMES == ["aws.yaml", "onprem.yaml"]


@EACH
def test_ray_takes_the_file(name: str) -> None:
    prepared = as_ray_reads(as_written(name))
    assert prepared["cluster_name"] == "fundus-ray"
    written = as_written(name)
    assert {key: prepared[key] for key in START} == {key: written[key] for key in START}


@EACH
def test_ray_would_refuse_a_key_it_does_not_know(name: str) -> None:
    with pytest.raises(ValidationError):
        as_ray_reads({**as_written(name), "max_worker": 3})


@EACH
def test_every_node_starts_with_the_same_token_and_the_dashboard_stays_on_the_head(name: str) -> None:
    config = as_written(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in START:
        (start,) = [command for command in config[key] if "ray start" in command]
        assert "RAY_AUTH_MODE=token" in start
        assert "--metrics-export-port=8080" in start
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "RAY_JOB_STOP_WAIT_TIME_S=" in config["head_start_ray_commands"][-1]


@EACH
def test_commands_are_options_that_this_ray_has(name: str) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    for key in START:
        for command in as_written(name)[key]:
            used = {word.partition("=")[0] for word in command.split() if word.startswith("--")}
            assert used <= known, used - known


def test_cloud_has_gpu_machines_on_spot_within_the_whole_and_ssh_from_one_address_alone() -> None:
    config = as_written("aws.yaml")
    types = config["available_node_types"]
    gpu = types["gpu"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (gpu["resources"]["GPU"], gpu["min_workers"] >= 1) == (8, True)
    assert types[config["head_node_type"]]["resources"]["GPU"] == 0
    assert sum(kind.get("max_workers", 0) for kind in types.values()) <= config["max_workers"]
    (rule,) = config["provider"]["security_group"]["IpPermissions"]
    (allowed,) = rule["IpRanges"]
    assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
    assert ipaddress.ip_network(allowed["CidrIp"].replace("YOUR_ADDRESS", "192.0.2.7")).num_addresses == 1


def test_project_asks_for_the_ray_that_these_files_were_checked_with() -> None:
    project = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert f"ray[data,default]=={'.'.join(ray.__version__.split('.')[:2])}.*" in project


def test_a_job_finds_the_command_beside_the_ray_of_its_head() -> None:
    """A job has the PATH of the head's `ray start`; on AWS the command is in the image's own Python."""
    config = as_written("onprem.yaml")
    (installed,) = [command for command in config["setup_commands"] if "pip install" in command]
    folder = installed.partition("/bin/pip")[0].replace("~", "$HOME")
    for key in START:
        assert f"export PATH={folder}/bin:$PATH;" in config[key][-1]
