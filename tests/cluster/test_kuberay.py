"""KubeRay's manifests: their own fields, their pods against Kubernetes' schema, and what a run needs of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
FIELDS = yaml.safe_load((Path(__file__).parent / "kuberay_fields.yaml").read_text())
MANIFESTS = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in ("raycluster", "rayjob")}
KUBERNETES = "1.34"
TOKEN_FREE_PATHS = {"/api/gcs_healthz", "/api/local_raylet_healthz"}  # Ray asks for no token there


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, its template)."""
    cluster = cluster_of(manifest)
    yield "head", cluster["headGroupSpec"]["template"]
    yield from ((group["groupName"], group["template"]) for group in cluster["workerGroupSpecs"])
    if "submitterPodTemplate" in manifest["spec"]:
        yield "submitter", manifest["spec"]["submitterPodTemplate"]


PODS = [(name, what, template) for name, manifest in MANIFESTS.items() for what, template in pods(manifest)]
EACH_POD = pytest.mark.parametrize(("name", "what", "template"), PODS, ids=[f"{name}-{what}" for name, what, _ in PODS])


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_has_fields_that_kuberay_knows(name: str) -> None:
    jsonschema.validate(MANIFESTS[name], FIELDS)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("raycluster", ("spec", "enableInTreeAutoscaler"), True),
        ("raycluster", ("spec", "authOptions"), {"mode": "password"}),
        ("rayjob", ("spec", "shutdownAfterJobFinished"), True),
        ("rayjob", ("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
    ],
)
def test_field_that_kuberay_would_refuse_is_found(name: str, path: tuple[str, ...], value: object) -> None:
    manifest = copy.deepcopy(MANIFESTS[name])
    part = manifest
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, FIELDS)


@EACH_POD
def test_pod_is_one_of_kubernetes(name: str, what: str, template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": what}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@EACH_POD
def test_pod_runs_as_nobody_in_particular_and_can_gain_nothing(name: str, what: str, template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert set(container["resources"]) == {"requests", "limits"}
    assert spec["automountServiceAccountToken"] is (what == "head")  # the autoscaler's


@EACH_POD
def test_pod_of_ray_shares_storage_and_secrets_come_from_a_secret(
    name: str, what: str, template: dict[str, Any]
) -> None:
    if what == "submitter":
        return
    (container,), volumes = template["spec"]["containers"], template["spec"]["volumes"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in volumes}
    assert (mounted["shared"], mounted["shm"]) == ("/shared", "/dev/shm")
    variables = {variable["name"]: variable for variable in container["env"]}
    assert "secretKeyRef" in variables["FUNDUS_RAY_API_KEY"]["valueFrom"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in TOKEN_FREE_PATHS


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_pod_lives_long_enough_for_what_happens_before_its_end(name: str) -> None:
    for what, template in pods(MANIFESTS[name]):
        for container in template["spec"]["containers"]:
            if "lifecycle" in container:
                command = container["lifecycle"]["preStop"]["exec"]["command"]
                assert float(command[-1]) < template["spec"]["terminationGracePeriodSeconds"], what


@pytest.mark.parametrize("name", MANIFESTS)
def test_tokens_are_on_and_the_version_is_that_of_the_project(name: str) -> None:
    cluster = cluster_of(MANIFESTS[name])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"].rsplit(".", 1)[0] == ray.__version__.rsplit(".", 1)[0]
    groups = cluster["workerGroupSpecs"]
    assert all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in groups)
    if cluster["autoscalerOptions"]["version"] == "v2":
        assert {template["spec"]["restartPolicy"] for _, template in pods(MANIFESTS[name])} == {"Never"}


def test_both_manifests_have_the_same_cluster() -> None:
    assert cluster_of(MANIFESTS["raycluster"]) == cluster_of(MANIFESTS["rayjob"])


def test_job_goes_on_where_it_is_tried_again_and_its_cluster_goes_with_it() -> None:
    spec = MANIFESTS["rayjob"]["spec"]
    command, run_dir, recipe, *settings = spec["entrypoint"].split()
    assert (ROOT / "cluster" / command).is_file()
    assert run_dir.startswith("/shared/")
    assert recipe.startswith("/shared/")
    assert settings == ["ray.address=auto", "ray.autoscale=true"]
    assert cluster_of(MANIFESTS["rayjob"])["enableInTreeAutoscaling"] is True
    assert spec["shutdownAfterJobFinishes"] is True


def test_volume_is_one_of_kubernetes_and_all_pods_may_write_to_it() -> None:
    claim = yaml.safe_load((FOLDER / "shared.yaml").read_text())
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = [volume for _, _, template in PODS for volume in template["spec"].get("volumes", ())]
    names = {v["persistentVolumeClaim"]["claimName"] for v in volumes if v["name"] == "shared"}
    assert names == {claim["metadata"]["name"]}


def test_exporters_are_found_by_a_label_and_port_that_the_pods_have() -> None:
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
    label = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for _, what, template in PODS:
        if what != "submitter":
            (container,) = template["spec"]["containers"]
            assert label.items() <= template["metadata"]["labels"].items()
            assert endpoint["port"] in {port["name"] for port in container["ports"]}
