"""Asking the machines of a cluster: one small task pinned to each, all at once, with one time limit.

In: a question for node_report.py. Out: a `Machine` for each, with its answer or why there is none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")  # as in actors.py

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fundus_ray.doctor import node_report
from fundus_ray.places import Node

HERE = "this machine"
LIMIT_S = 60.0  # a worker process has to start on each machine

Question = Callable[[str], dict[str, Any]]  # of a machine's own id


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster; `problem` is "" where it has answered."""

    node: Node
    answer: Mapping[str, Any]
    problem: str = ""

    @property
    def name(self) -> str:
        """As in the table."""
        return self.node.name


def ask_here(node: Node, question: Question, *, limit_s: float = LIMIT_S) -> list[Machine]:
    """This machine alone, in a thread of this process: a disk that hangs must not hang the doctor."""
    told: Future[dict[str, Any]] = Future()

    def look() -> None:
        try:
            told.set_result(node_report.report(question("here")))
        except BaseException as err:  # noqa: BLE001  # raised again by whoever waits
            told.set_exception(err)

    threading.Thread(target=look, daemon=True).start()
    try:
        return [Machine(node, told.result(limit_s))]
    except TimeoutError:
        return [Machine(node, {}, f"gave no answer within {limit_s:g} s")]


def ask_cluster(nodes: Mapping[str, Node], question: Question, *, limit_s: float = LIMIT_S) -> list[Machine]:
    """Each machine of the cluster that this process is connected to, by Ray's id. Tasks that have not ended within
    limit_s seconds are cancelled."""
    ray.cloudpickle.register_pickle_by_value(node_report)
    try:
        task = ray.remote(node_report.report)
        asked = {name: _ask(task, name, question(name)) for name in nodes}
        done, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit_s)
        for ref in late:
            ray.cancel(ref, force=True)
        answer = partial(_answer, limit_s=limit_s, done=set(done))
        return [answer(nodes[name], ref) for name, ref in asked.items()]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_report)


def _ask(task: Any, name: str, question: dict[str, Any]) -> Any:
    pinned = NodeAffinitySchedulingStrategy(name, soft=False)
    return task.options(num_cpus=0, max_retries=0, scheduling_strategy=pinned).remote(question)


def _answer(node: Node, ref: Any, *, limit_s: float, done: set[Any]) -> Machine:
    if ref not in done:
        return Machine(node, {}, f"gave no answer within {limit_s:g} s")
    try:
        return Machine(node, ray.get(ref))
    except RayError as err:
        return Machine(node, {}, " ".join(str(err).split())[-300:])


def alive() -> dict[str, Node]:
    """Ray's id of a machine -> the machine, of the cluster that this process is connected to. Machines that share an
    address, as those of a test, are told apart by their ids."""
    rows = [row for row in ray.nodes() if row["Alive"]]
    free = available_resources_per_node()
    names = [row["NodeManagerAddress"] for row in rows]
    return {
        row["NodeID"]: Node(
            row["NodeManagerAddress"]
            if names.count(row["NodeManagerAddress"]) == 1
            else f"{row['NodeManagerAddress']}/{row['NodeID'][:6]}",
            row["Resources"],
            free.get(row["NodeID"], {}),
        )
        for row in rows
    }
