"""A Ray cluster over machines that are network namespaces (namespaces.py): its nodes, its token, a job sent to it.

In: CPUs of each node. Out: `Cluster`, all nodes up; the last machine is no node but a client's. Tokens are on, as Ray
wants it of a head that others can reach. All waits have limits and raise DemoError in words.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from namespaces import Machine, lan

DASHBOARD_PORT, HEAD_PORT = 8265, 6379
# The same on each node, as each has all ports to itself. Where they are not given, a node waits 15 s for its agent to
# name them, and dies of it on a machine with much to do.
PORTS = (
    "--dashboard-agent-listen-port=52365",
    "--dashboard-agent-grpc-port=52366",
    "--runtime-env-agent-port=52367",
    "--metrics-export-port=8080",
)
# Ray's own would take minutes to see that a node is gone.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
UP_S = 300.0  # longest start of one node, and longest sending of a job
ASK_S, PATIENCE_S = 20.0, 120.0  # longest answer of the head; longest time without one
EVERY_S = 0.25
NODE_LOGS = ("raylet.*", "gcs_server.*", "dashboard_agent.*", "runtime_env_agent.*")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")  # Ray's words for a job


class DemoError(Exception):
    """What did not come to pass."""


@dataclass(slots=True)
class Cluster:
    """The nodes that run."""

    machines: Sequence[Machine]  # node 1, the head, and so on; the last one is the client's
    cpus: Sequence[int]  # of each node
    folder: Path  # token, logs, and Ray's own files
    env: dict[str, str]
    _running: dict[int, Popen[bytes]] = field(default_factory=dict)

    @property
    def dashboard(self) -> str:
        """Its address."""
        return f"http://{self.machines[0].address}:{DASHBOARD_PORT}"

    def machine(self, node: int) -> Machine:
        """Under this node, counted from 1."""
        return self.machines[node - 1]

    def start(self, node: int) -> None:
        """Ray on this node; it may still be starting."""
        command = ray_start(
            self.machine(node), head=self.machines[0], cpus=self.cpus[node - 1], temp_dir=self.folder / str(node)
        )
        log = self.folder / f"node-{node}.log"
        self._running[node] = self.machine(node).start(command, env=self.env, log=log)

    def ended(self, node: int) -> bool:
        """Whether Ray there is gone."""
        return self._running[node].poll() is not None

    def alive(self) -> set[str] | None:
        """Addresses of the nodes that Ray takes for alive; None where the head does not answer."""
        try:
            nodes = self._ask("/api/v0/nodes?limit=1000")["data"]["result"]["result"]
        except OSError:
            return None
        return {node["node_ip"] for node in nodes if node["state"] == "ALIVE"}

    def misses(self, node: int) -> bool:
        """Whether the head says that the node is not alive."""
        alive = self.alive()
        return alive is not None and self.machine(node).address not in alive

    def wait_until_up(self, node: int) -> None:
        """Raises DemoError with the end of Ray's log where it ends instead."""
        address = self.machine(node).address

        def still_there() -> None:
            if self.ended(node):
                said = (self.folder / f"node-{node}.log").read_text()
                raise DemoError(f"Ray on node {node} ended: {' '.join(said.split())[-600:]}")

        until(lambda: address in (self.alive() or ()), limit_s=UP_S, what=f"node {node} is up", check=still_there)

    def submit(self, job: str, command: Sequence[str]) -> None:
        """Send the command as a job by `ray job submit` from the client's machine, as a user would type it."""
        log = self.folder / "submit.log"
        words = [ray_program(), "job", "submit", "--no-wait", f"--address={self.dashboard}", f"--submission-id={job}"]
        sent = self.machines[-1].start([*words, "--", *command], env=self.env, log=log)
        if sent.wait(timeout=UP_S):
            raise DemoError(f"ray job submit failed: {' '.join(log.read_text().split())[-600:]}")

    def job_state(self, job: str) -> str:
        """Ray's word for how it is. Raises DemoError where the head does not answer for PATIENCE_S."""
        return str(self._ask_patiently(f"/api/jobs/{job}")["status"])

    def job_log(self, job: str) -> str:
        """All that it has written. Raises DemoError likewise."""
        return str(self._ask_patiently(f"/api/jobs/{job}/logs")["logs"])

    def _ask(self, path: str) -> Any:
        """The dashboard's answer, as Ray's own clients get it. Raises OSError where there is none, DemoError where it
        refuses."""
        token = (self.folder / "auth_token").read_text()
        request = urllib.request.Request(f"{self.dashboard}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as err:
            if err.code in (401, 403):
                raise DemoError(f"the head refuses our token: {err.read()[:200]!r}") from None
            raise

    def _ask_patiently(self, path: str) -> Any:
        limit = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._ask(path)
            except OSError as err:
                if time.monotonic() > limit:
                    raise DemoError(f"the head does not answer: {err}") from None
                time.sleep(EVERY_S)


@contextmanager
def cluster_of(cpus: Sequence[int], *, logs: Path) -> Iterator[Cluster]:
    """One node for each number, up; all is removed at the end, but for the nodes' logs, which go into `logs`."""
    with ExitStack() as stack:
        # Below /tmp and short: Ray's sockets lie in it.
        made = tempfile.TemporaryDirectory(prefix="fr", dir="/tmp", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(made))
        token = folder / "auth_token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        env = ray_environment(os.environ, token=token)
        cluster = Cluster(stack.enter_context(lan(len(cpus) + 1)), cpus, folder, env)
        stack.callback(_keep_logs, folder, logs)
        for node in range(1, len(cpus) + 1):
            cluster.start(node)
            cluster.wait_until_up(node)
        yield cluster


def ray_program() -> str:
    """Beside this Python."""
    return str(Path(sys.executable).parent / "ray")


def ray_start(machine: Machine, *, head: Machine, cpus: int, temp_dir: Path) -> list[str]:
    """The command that runs Ray there."""
    joins = [f"--address={head.address}:{HEAD_PORT}"]
    leads = ["--head", f"--port={HEAD_PORT}", f"--dashboard-host={head.address}", f"--dashboard-port={DASHBOARD_PORT}"]
    return [
        *(ray_program(), "start", *(leads if machine == head else joins)),
        f"--node-ip-address={machine.address}",
        f"--num-cpus={cpus}",
        f"--temp-dir={temp_dir}",
        *PORTS,
        "--object-store-memory=200000000",
        "--disable-usage-stats",
        "--block",
    ]


def ray_environment(own: Mapping[str, str], *, token: Path) -> dict[str, str]:
    """For nodes and clients alike: what our own environment says of Ray would be about another cluster."""
    return {
        **{name: value for name, value in own.items() if not name.startswith("RAY_")},
        **HEALTH,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_process_group_cleanup_enabled": "1",
        "RAY_worker_niceness": "0",  # Ray's own 15 leaves all of them to whatever else this machine does
        "OMP_NUM_THREADS": "1",
    }


def until(condition: Callable[[], bool], *, limit_s: float, what: str, check: Callable[[], None] | None = None) -> None:
    """Wait for it; `check` raises where it can no longer come. Raises DemoError after limit_s."""
    limit = time.monotonic() + limit_s
    while not condition():
        if check is not None:
            check()
        if time.monotonic() > limit:
            raise DemoError(f"not within {limit_s:g} s: {what}")
        time.sleep(EVERY_S)


def _keep_logs(folder: Path, into: Path) -> None:
    """What `ray start` printed, and what each node's own processes wrote, which says why one does not come up."""
    into.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        (into / log.name).write_bytes(log.read_bytes())
    for log in (log for kind in NODE_LOGS for log in folder.glob(f"*/session_2*/logs/{kind}")):
        node = log.relative_to(folder).parts[0]
        (into / f"node-{node}-{log.name}").write_bytes(log.read_bytes())
