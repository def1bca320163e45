"""All checks of a run, in order, and what is said of them.

In: a checked configuration. Out: findings, and the memory estimate line by line. Nothing is loaded and no actor is
started; of a cluster each machine is asked once, by a small task; every wait has a limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from fundus_ray.cluster import cluster
from fundus_ray.config import Config
from fundus_ray.doctor import estimate, node_report
from fundus_ray.doctor.access import token
from fundus_ray.doctor.ask_nodes import HERE, LIMIT_S, Machine, alive, ask_cluster, ask_here
from fundus_ray.doctor.case import Case
from fundus_ray.doctor.findings import EVERYWHERE, Finding, Verdict, counted, fail, merged, raise_failures, table
from fundus_ray.doctor.machine_checks import answers, images, models, run_folder, search, versions
from fundus_ray.doctor.needs import PACKAGES, Marker, Needs, needs_of
from fundus_ray.doctor.room_checks import (
    adapters,
    disk,
    engine_memory,
    learner_memory,
    main_memory,
    placement,
    prompts,
    tensor_parallel,
)
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.store import read_corpus
from fundus_ray.places import Group, Node, asks_of, groups_of, learner_group
from fundus_ray.progress import say

CHECKS = (
    answers,
    placement,
    versions,
    models,
    images,
    prompts,
    run_folder,
    search,
    tensor_parallel,
    adapters,
    disk,
    engine_memory,
    learner_memory,
    main_memory,
)


def examine(config: Config) -> list[Finding]:
    """One row a check; machines of which the same was found share one."""
    try:
        return _examined(config)
    except (ConfigError, DataError) as err:
        return [_failed("input", err)]


def _examined(config: Config) -> list[Finding]:
    """Raises ConfigError, DataError where the model, the data or the knowledge cannot be read here."""
    snapshot = read_corpus(config.knowledge).snapshot if config.knowledge.store == "elasticsearch" else ""
    return _findings(needs_of(config, snapshot=snapshot), groups_of(config))


def _findings(needs: Needs, groups: Sequence[Group]) -> list[Finding]:
    """Of these actors alone."""
    try:
        with _marked(needs.marker):
            machines, access = _machines(needs, groups)
            case = Case(needs, groups, machines, own=node_report.versions(PACKAGES))
            return merged([*access, *(finding for check in CHECKS for finding in check(case))])
    except _UnwritableError as err:
        return [fail("run folder", HERE, str(err), "set run.dir to a folder that this machine may write to")]


def preflight(config: Config) -> None:
    """As the first stage of a run: one line where all is well, else the rows that say what is not. Raises ConfigError
    where the run cannot work, DataError where data cannot be read."""
    _judge(_examined(config))


def preflight_learner(config: Config, *, base: Path) -> None:
    """The same for a learner alone on these base weights, as a replay has it: no engine, no search. Raises as
    `preflight` does."""
    alone = replace(
        config,
        policy=replace(config.policy, path=str(base)),
        sft=replace(config.sft, steps=0),  # they are there already
        ray=replace(config.ray, colocate=False),
    )
    _judge(_findings(needs_of(alone, snapshot=""), [learner_group(alone)]))


def _judge(findings: Sequence[Finding]) -> None:
    say(f"doctor: {counted(findings)}")
    odd = [one for one in findings if one.verdict is not Verdict.OK]
    if odd:
        print(table(odd), flush=True)
    raise_failures(findings)


class _UnwritableError(Exception):
    """The run folder takes no file. Its own class: a lost connection, say, is an OSError too."""


def arithmetic(config: Config) -> str:
    """The memory estimate of an engine and of the learner, line by line."""
    needs = needs_of(config, snapshot="")
    ranks = config.rollout.tensor_parallel
    parts = [
        estimate.engine(needs.shape, config, max_pixels=needs.pixels[1], ranks=ranks),
        estimate.learner(needs.shape, config),
    ]
    where = {"engine": config.rollout.gpus, "learner": config.learner.gpus}
    lines = []
    for part in parts:
        lines.append(f"{part.name}, {'on one GPU' if where[part.name] else 'main memory'}: {estimate.gib(part.total)}")
        lines += [f"  {line.what:<20}{estimate.gib(line.bytes):>10}  {line.why}" for line in part.lines]
    token_bytes = estimate.kv_token_bytes(needs.shape, config, ranks=ranks)
    lines.append(f"and for each token in the engine's KV cache {token_bytes / 1024:g} KiB")
    return "\n".join(lines)


def _machines(needs: Needs, groups: Sequence[Group]) -> tuple[list[Machine], list[Finding]]:
    """Each machine's answer, and how it was reached."""
    config = needs.config
    if config.ray.address == "local":
        cpus = max(len(os.sched_getaffinity(0)), math.ceil(sum(ask.cpus for ask in asks_of(groups))))
        here = Node(HERE, {"CPU": float(cpus)}, {"CPU": float(cpus)})
        found = ask_here(here, needs.question, limit_s=LIMIT_S + needs.search_s)
        return [_with_gpus(machine) for machine in found], []
    try:
        with cluster(config, []):
            nodes = alive()
            found = ask_cluster(nodes, needs.question, limit_s=LIMIT_S + needs.search_s)
            return found, list(token([node.name for node in nodes.values()]))
    except ConfigError as err:
        return [], [_failed("cluster", err)]


def _with_gpus(machine: Machine) -> Machine:
    """A private Ray takes all GPUs that this process may see."""
    found = machine.answer.get("gpus", [])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = 0 if isinstance(found, str) else len(found)
    if visible is not None:
        named = takewhile(lambda one: one not in ("", "-1"), map(str.strip, visible.split(",")))  # as CUDA reads it
        count = min(count, len(list(named)))
    total = {**machine.node.total, "GPU": float(count)}
    return replace(machine, node=Node(machine.node.name, total, total))


@contextmanager
def _marked(marker: Marker) -> Iterator[None]:
    """The marker is in the run folder; afterwards neither it nor what machines wrote beside it. Raises
    _UnwritableError."""
    try:
        new = not marker.folder.exists()
        marker.folder.mkdir(parents=True, exist_ok=True)
        (marker.folder / marker.name).write_text(marker.content)
    except OSError as err:
        raise _UnwritableError(f"{marker.folder} cannot be written to: {err.strerror or err}") from None
    try:
        yield
    finally:
        for file in marker.folder.glob(f"{marker.name}*"):
            file.unlink(missing_ok=True)
        if new and not any(marker.folder.iterdir()):
            marker.folder.rmdir()


def _failed(check: str, err: ConfigError | DataError) -> Finding:
    found, _, remedy = str(err).partition("; ")
    return fail(check, EVERYWHERE if check == "cluster" else HERE, found, remedy or "correct it")
