"""Checks on what the machines answered: the same software, model and images within reach, a shared run folder, and one
search server for all.

In: `Case`. Out: findings, one a machine or one for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fundus_ray.doctor import node_report
from fundus_ray.doctor.ask_nodes import Machine
from fundus_ray.doctor.case import ROLES, Case
from fundus_ray.doctor.estimate import gib
from fundus_ray.doctor.findings import EVERYWHERE, Finding, fail, warn
from fundus_ray.doctor.needs import OF_ROLE, PACKAGES
from fundus_ray.errors import ConfigError
from fundus_ray.places import check_placement

SHARE = "give the path of a folder that all machines share (NFS and the like), or put the same files there on each"


def answers(case: Case) -> Iterator[Finding]:
    """Whether each machine answered at all. One that did not is a failure only where the run needs it."""
    silent = fail if not _enough(case) else warn
    for machine in case.machines:
        if machine.problem:
            remedy = "look at that machine's Ray (`ray status`, its logs), or take it out of the cluster (`ray stop`)"
            yield silent("machine", machine.name, machine.problem, remedy)
    count = len(case.answered)
    if count:
        total = {key: sum(m.node.total.get(key, 0.0) for m in case.answered) for key in ("CPU", "GPU")}
        found = f"{count} of {len(case.machines)} answered, with {total['CPU']:g} CPUs and {total['GPU']:g} GPUs"
        yield Finding("machine", EVERYWHERE, found)


def versions(case: Case) -> Iterator[Finding]:
    """The same Python, packages and fundus_ray as in this process, as far as a machine's actors use them. Builds of
    one version (+cpu, +cu130) count as the same."""
    good = True
    for machine in case.answered:
        there: dict[str, str] = machine.answer["versions"]
        used = {"ray", *(name for role in ROLES if machine in case.hosts(role) for name in OF_ROLE[role])}
        for name in ("python", "fundus_ray", *PACKAGES):
            own, found = _public(case.own[name]), _public(there[name])
            if name in PACKAGES and name not in used:
                continue
            if own == found and found:
                continue
            good = False
            shown = found or "not installed"
            said = f"{name} {shown}, here {own or 'not installed'}"
            if name == "fundus_ray":
                said = "another fundus_ray than here" if found else "no fundus_ray"
            if name == "python" and _minor(own) == _minor(found):
                yield warn("versions", machine.name, said, "install the same patch release everywhere")
                continue
            remedy = "install the same on every machine (one image, or one environment on a shared disk)"
            if name == "fundus_ray":
                remedy += ", or send the code with the job: fundus-ray submit, or ray job submit --working-dir"
            yield fail("versions", machine.name, said, remedy)
    if good and case.answered:
        shown = ", ".join(f"{name} {_public(case.own[name])}" for name in ("python", *PACKAGES) if case.own[name])
        yield Finding("versions", EVERYWHERE, f"{shown}, one fundus_ray")


def models(case: Case) -> Iterator[Finding]:
    """Each model whole, and the same, on every machine that may load it."""
    for folder in sorted({folder for folders in case.needs.models.values() for folder in folders}):
        roles = [role for role in ROLES if folder in case.needs.models[role]]
        own = node_report.model(folder)
        for machine in case.hosts(*roles):
            there: dict[str, Any] = machine.answer["models"][folder]
            if there["problem"]:
                yield fail("model", machine.name, f"{folder}: {there['problem']}", SHARE)
            elif not own["problem"] and (there["config"], there["bytes"]) != (own["config"], own["bytes"]):
                yield fail("model", machine.name, f"{folder} holds another model than here", SHARE)
            else:
                yield Finding("model", machine.name, f"{folder}: {gib(there['bytes'])} of weights, whole")
    if not any(case.needs.models.values()):
        yield Finding("model", EVERYWHERE, "tiny, made on the spot")


def images(case: Case) -> Iterator[Finding]:
    """Some of the training images, by their hashes, on every machine whose engines or learner read them."""
    refs = case.needs.images
    if not refs:
        return
    remedy = f"{SHARE}; data.image_root says where a store's images lie now"
    for machine in case.hosts("rollout", "learner"):
        there = machine.answer["images"]
        lost = [(ref.path, there[ref.path]["problem"]) for ref in refs if "problem" in there[ref.path]]
        other = [ref.path for ref in refs if there[ref.path].get("sha256", ref.sha256) != ref.sha256]
        if lost:
            found = f"{len(lost)} of {len(refs)} sample images cannot be read, the first: {lost[0][0]} ({lost[0][1]})"
            yield fail("images", machine.name, found, remedy)
        elif other:
            yield fail("images", machine.name, f"{other[0]} is not the image that the data set was made with", remedy)
        else:
            yield Finding("images", machine.name, f"{len(refs)} sample images read, hashes right")


def run_folder(case: Case) -> Iterator[Finding]:
    """The folder that the driver writes to, seen and writable on every machine with an actor: logs, checkpoints, the
    policy's and the knowledge's files go through it."""
    place = case.needs.run_dir
    marker = case.needs.marker
    for machine in case.hosts(*ROLES):
        problem = machine.answer["marker"]["problem"]
        written = list(place.glob(f"{marker.name}-*"))
        if not problem and not written:
            problem = "writes to another folder of that name"
        if problem:
            remedy = "set run.dir to a folder that all machines share and may write to"
            yield fail("run folder", machine.name, f"{place}: {problem}", remedy)
        else:
            yield Finding("run folder", machine.name, f"{place}: written and seen")


def search(case: Case) -> Iterator[Finding]:
    """Elasticsearch, from every machine that may hold a reward actor: it answers, it is the same one for all, and what
    it holds of this run's knowledge."""
    if not case.needs.snapshot:
        return
    url = case.config.knowledge.url
    seen: dict[str, Machine] = {}
    for machine in case.hosts("reward"):
        there: dict[str, Any] = machine.answer["search"]
        if "problem" in there:
            problem, _, remedy = str(there["problem"]).partition("; ")
            asked = remedy or "install the same fundus_ray there"
            yield fail("knowledge", machine.name, problem, asked)
            continue
        seen.setdefault(there["cluster"], machine)
        held = there["passages"]
        state = f"{held} passages of snapshot {case.needs.snapshot}"
        if held is None:
            state = f"no snapshot {case.needs.snapshot} yet, which the run builds"
        yield Finding("knowledge", machine.name, f"{url} answers; {state}")
    if len(seen) > 1:
        names = " and ".join(machine.name for machine in list(seen.values())[:2])
        found = f"{url} leads to {len(seen)} different servers, as seen from {names}"
        yield fail("knowledge", EVERYWHERE, found, "set knowledge.url to one address that is the same for all machines")


def _enough(case: Case) -> bool:
    """Whether what the run needs fits the machines that answered."""
    try:
        check_placement(case.groups, nodes=[machine.node for machine in case.answered])
    except ConfigError:
        return False
    return True


def _public(version: str) -> str:
    """Without what a build adds to it."""
    return version.partition("+")[0]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
