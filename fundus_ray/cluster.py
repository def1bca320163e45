"""Ray itself: joining a cluster or starting a private one, leaving it in order, and starting actors in it.

In: `ray.*` of the configuration, what the actors ask for. Out: `cluster`, in whose body Ray is there; `spawn`.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fundus_ray.actors import Actor

# isort: split
import ray  # after actors.py, which settles how loud Ray is when it is imported
import ray.exceptions
from ray._private import ray_constants
from ray._private.state import available_resources_per_node

from fundus_ray.config import Config
from fundus_ray.connecting import explain_connection, keep_token_private
from fundus_ray.cores import check_cores, pinned
from fundus_ray.errors import ConfigError
from fundus_ray.places import Ask, Group, Node, asks_of, check_placement
from fundus_ray.policy.load import gpu_count

CONNECT_S = 10.0  # longest wait for a cluster's head

WORKER_ENV = {
    "HF_HUB_OFFLINE": "1",  # a path that is not there is an error, not a download
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; read by CPU engines only, as is the next
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # binding would put every engine on the same first cores
    # A CPU engine then computes in its core's process instead of starting one more, which costs 10 s on two cores.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def cluster(config: Config, groups: Sequence[Group]) -> Iterator[None]:
    """A connection to a cluster that could hold these actors, or a private one; left in order however the body ends.
    Raises ConfigError where it could not, unless it adds machines on demand."""
    with pinned(config.ray.cores, key="ray.cores"):
        _connect(config, cpus=sum(ask.cpus for ask in asks_of(groups)))
        try:
            if not config.ray.autoscale:
                _check_room(groups, private=config.ray.address == "local")
            yield
        finally:
            ray.shutdown()


def machines() -> list[Node]:
    """The cluster's, those with GPUs first. For a process that is connected."""
    free = available_resources_per_node()  # Ray has the sum over the cluster only among its documented calls
    nodes = [
        Node(node["NodeManagerAddress"], node["Resources"], free.get(node["NodeID"], {}))
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: -node.total.get("GPU", 0.0))


def _check_room(groups: Sequence[Group], *, private: bool) -> None:
    try:
        check_placement(groups, nodes=machines())
    except ConfigError as err:
        if private:
            raise
        raise ConfigError(f"{err}; or, where the cluster adds machines on demand, set ray.autoscale=true") from None


def _connect(config: Config, *, cpus: float) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A killed engine's vLLM process would live on and keep its memory; read by the machines of a private Ray.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    if config.ray.address not in ("local", "auto"):
        _check_reachable(config.ray.address)
    private: dict[str, Any] = {
        # A private Ray may be asked for more CPUs than there are cores: they only pace scheduling.
        "num_cpus": max(len(os.sched_getaffinity(0)), math.ceil(cpus)),
        "include_dashboard": False,
    }
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _on_loopback(only=config.ray.address == "local"):
            ray.init(
                address=config.ray.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(private if config.ray.address == "local" else {}),
            )
        keep_token_private()
    except (ConnectionError, ray.exceptions.AuthenticationError) as err:
        raise ConfigError(f"ray.address={config.ray.address}: {explain_connection(err)}") from None
    except RuntimeError as err:  # of general class, where Ray or Python differ
        if "version mismatch" not in str(err).lower():
            raise
        ray.shutdown()  # it is noticed after the connection was made
        raise ConfigError(f"ray.address={config.ray.address}: {explain_connection(err)}") from None
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray puts its own there, which ends the process in the middle of things


@contextmanager
def _on_loopback(*, only: bool) -> Iterator[None]:
    """A private Ray starts on the machine's own address, 127.0.0.1, as Ray itself has it on macOS and Windows: else its
    ports, those of metrics without a token, are open to the network. tests/test_private_ray.py looks at every port."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not only
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def check_machine(config: Config) -> None:
    """What can be known before anything slow: is the cluster's head there, has this machine the GPUs and the cores.
    Raises ConfigError."""
    address = config.ray.address
    gpus = {"rollout.gpus": config.rollout.gpus, "learner.gpus": config.learner.gpus, "reward.gpus": config.reward.gpus}
    if address not in ("local", "auto"):
        _check_reachable(address)
    if address == "local":
        check_cores(config.ray.cores, key="ray.cores")
        check_cores(config.rollout.cores, key="rollout.cores")
        check_cores(config.learner.cores, key="learner.cores")
    key = next((name for name, asked_for in gpus.items() if asked_for), "")
    if address == "local" and key and not gpu_count():
        raise ConfigError(
            f"{key}={gpus[key]:g} but PyTorch sees no GPU on this machine; set it to 0, install the extra `gpu`, or "
            "join a cluster by ray.address"
        )


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(f"ray.address={address} must be `local`, `auto` or HOST:PORT of a running cluster's head")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as err:
        raise ConfigError(
            f"ray.address={address}: nothing answers there within {CONNECT_S:g} s ({err}); start a cluster with "
            "`ray start --head`, or set ray.address=local"
        ) from None


def spawn(
    ask: Ask,
    worker: type,
    *args: Any,
    threads: int,
    calls: int | None = None,
    log_path: Path | None = None,
    place: Any = None,
) -> Actor:
    """One actor of a plain class; it may still be starting. `threads`: OpenMP threads; `calls`: that it may have under
    way at once, of asynchronous methods; None = Ray's own number, which is 1 where the methods are plain ones (a number
    would have each call run in another thread). `place`: Ray's scheduling strategy, as `Places.of` gives it; None =
    Ray's own."""
    env = {**WORKER_ENV, "OMP_NUM_THREADS": str(threads)}
    handle = (
        ray.remote(worker)
        .options(
            num_cpus=ask.cpus,
            num_gpus=ask.gpus,
            max_restarts=0,
            max_concurrency=calls,
            scheduling_strategy=place,
            runtime_env={"env_vars": env},
        )
        .remote(*args)
    )
    return Actor(name=ask.name, handle=handle, log_path=log_path)
