"""Ray: what is asked for against what the cluster has, starting the actors, stopping them in order.

In: the configuration, the policy's folder, the built knowledge store, the run folder. Out: `Actors`, whose members
are loop.py's parts. Supervision is by call: every call has a time limit, and a dead actor fails its calls at once
(actors.py), which ends the run with an error that names it. Engines alone are started again (crew.py).

On a cluster of several machines the policy's, the knowledge's and the run's folder must be shared by all of them.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.actors import Actor, LearnerActor, ModelActor, RewardPool, RolloutActor

# isort: split
import ray  # after actors.py, which settles how loud Ray is when it is imported

from fundus_ray.config import Config
from fundus_ray.cores import check_cores, pinned
from fundus_ray.data.images import read_pixels
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.errors import ConfigError
from fundus_ray.evaluate.benchmarks.pictures import AskedImage
from fundus_ray.gather import all_or_first_error
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.loop import Parts
from fundus_ray.model_pool import ModelPool
from fundus_ray.obs.trace import Trace
from fundus_ray.policy.load import gpu_count
from fundus_ray.policy.stored_adapter import StoredAdapter
from fundus_ray.policy.worker import ModelWorker
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.rollout.worker import RolloutWorker
from fundus_ray.types import Sampling

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

CONNECT_S = 10.0  # longest wait for a cluster's head
CLOSE_S = 30.0  # longest orderly stop of an engine; after that its process is killed
ANSWER_SLACK_S = 60.0  # an engine aborts a request after loop.stall_s itself; one that does not even do that hangs

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


@dataclass(frozen=True, slots=True)
class Ask:
    """What one actor needs."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Actors:
    """The running system."""

    rollouts: RolloutPool
    reward: RewardPool
    learner: LearnerActor

    @property
    def parts(self) -> Parts:
        """As the loop takes them."""
        return Parts(rollouts=self.rollouts, reward=self.reward, learner=self.learner)


@asynccontextmanager
async def start(
    config: Config, *, model_path: Path, knowledge: BuiltStore, run_dir: Path, trace: Trace
) -> AsyncIterator[Actors]:
    """All actors, ready for work; on leaving, also by an error or Ctrl-C, engines are closed and Ray is shut down.

    Workers write to run_dir/logs/NAME.log. Raises ConfigError before any actor starts where the cluster is too small or
    not there, and WorkerDiedError where one has not started within ray.start_timeout_s.
    """
    asks = asked(config)
    with _cluster(config, asks):
        workers = _spawn_all(config, asks=asks, model_path=model_path, knowledge=knowledge, run_dir=run_dir)
        await workers.ready(limit_s=config.ray.start_timeout_s)
        actors = _adapt(config, workers=workers, trace=trace)
        async with _closed_at_the_end(actors.rollouts):
            yield actors


@asynccontextmanager
async def start_readers(config: Config, *, model_path: Path, log_dir: Path) -> AsyncIterator[ModelPool]:
    """Engines of a generic model alone: `rollout.workers` of them, as `rollout.*` says. Raises as `start` does."""
    async with _models(
        config, "reader", read=read_pixels, adapter=None, model_path=model_path, log_dir=log_dir
    ) as pool:
        yield pool


@asynccontextmanager
async def start_answerers(
    config: Config, *, model_path: Path, adapter: StoredAdapter | None, log_dir: Path
) -> AsyncIterator[ModelPool]:
    """Engines that answer a benchmark, under the adapter where there is one. Raises as `start` does, and what the
    adapter is at fault for."""
    async with _models(
        config, "answerer", read=AskedImage.pixels, adapter=adapter, model_path=model_path, log_dir=log_dir
    ) as pool:
        yield pool


@asynccontextmanager
async def _models(
    config: Config,
    role: str,
    *,
    read: Callable[[Any], Image.Image],
    adapter: StoredAdapter | None,
    model_path: Path,
    log_dir: Path,
) -> AsyncIterator[ModelPool]:
    asks = [Ask(f"{role}-{i}", config.rollout.cpus, config.rollout.gpus) for i in range(config.rollout.workers)]
    with _cluster(config, asks):
        engines = []
        for ask in asks:
            path = log_dir.resolve() / f"{ask.name}.log"
            args = (config, str(model_path.resolve()), ask.name, str(path), read, adapter)
            calls, threads = config.calls_under_way, config.rollout.threads
            make = partial(spawn, ask, ModelWorker, *args, threads=threads, calls=calls, log_path=path)
            limits = {"start_limit_s": config.ray.start_timeout_s, "limit_s": config.loop.stall_s + ANSWER_SLACK_S}
            engines.append(ModelActor(make, loading=str(model_path), **limits))
        await all_or_first_error([engine.start() for engine in engines])
        pool = ModelPool(engines, restarts=config.rollout.restarts)
        async with _closed_at_the_end(pool):
            yield pool


@contextmanager
def _cluster(config: Config, asks: Sequence[Ask]) -> Iterator[None]:
    """A connection to a cluster that holds these actors, or a private one; left in order however the body ends."""
    with pinned(config.ray.cores, key="ray.cores"):
        _connect(config, cpus=sum(ask.cpus for ask in asks))
        try:
            check_placement(asks, nodes=[node["Resources"] for node in ray.nodes() if node["Alive"]])
            yield
        finally:
            ray.shutdown()


@asynccontextmanager
async def _closed_at_the_end(pool: RolloutPool | ModelPool) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await pool.close(limit_s=CLOSE_S)  # what goes wrong here follows from the error on its way
        raise
    for problem in await pool.close(limit_s=CLOSE_S):
        log.warning("%s", problem)


def asked(config: Config) -> list[Ask]:
    """One entry an actor, engines first."""
    rollout, reward, learner = config.rollout, config.reward, config.learner
    return [
        *(Ask(f"rollout-{i}", rollout.cpus, rollout.gpus) for i in range(rollout.workers)),
        Ask("learner", learner.cpus, learner.gpus),
        *(Ask(f"reward-{i}", reward.cpus, reward.gpus) for i in range(reward.workers)),
    ]


def check_placement(asks: Sequence[Ask], *, nodes: Sequence[Mapping[str, float]]) -> None:
    """Whether the actors fit the cluster as a whole, and each on one machine. Raises ConfigError with the numbers."""
    for resource, amounts in (("CPU", [a.cpus for a in asks]), ("GPU", [a.gpus for a in asks])):
        there = [node.get(resource, 0.0) for node in nodes]
        parts = " + ".join(f"{ask.name} {amount:g}" for ask, amount in zip(asks, amounts, strict=True) if amount)
        key = resource.lower() + "s"
        if sum(amounts) > sum(there):
            raise ConfigError(
                f"the actors ask for {sum(amounts):g} {resource}s ({parts}) but the cluster has {sum(there):g}; lower "
                f"rollout.workers, rollout.{key} or learner.{key}"
            )
        if max(amounts) > max(there, default=0.0):
            raise ConfigError(
                f"one actor asks for {max(amounts):g} {resource}s ({parts}) but the largest machine of the cluster has "
                f"{max(there):g}; lower rollout.{key} or learner.{key}"
            )


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
        ray.init(
            address=config.ray.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(private if config.ray.address == "local" else {}),
        )
    except ConnectionError as err:
        raise ConfigError(
            f"ray.address={config.ray.address}: no Ray cluster answers ({' '.join(str(err).split())[:200]}); "
            "start one with `ray start --head`, or set ray.address=local"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray puts its own there, which ends the process in the middle of things


def check_machine(config: Config) -> None:
    """What can be known before anything slow: is the cluster's head there, has this machine the GPUs and the cores.
    Raises ConfigError."""
    address, gpus = config.ray.address, max(config.rollout.gpus, config.learner.gpus, config.reward.gpus)
    if address not in ("local", "auto"):
        _check_reachable(address)
    if address == "local":
        check_cores(config.ray.cores, key="ray.cores")
        check_cores(config.rollout.cores, key="rollout.cores")
        check_cores(config.learner.cores, key="learner.cores")
    if address == "local" and gpus > 0 and not gpu_count():
        keys = {"rollout.gpus": config.rollout.gpus, "learner.gpus": config.learner.gpus}
        key = next((name for name, asked_for in keys.items() if asked_for), "reward.gpus")
        raise ConfigError(
            f"{key}={gpus:g} but PyTorch sees no GPU on this machine; set it to 0, install the extra `gpu`, or join a "
            "cluster by ray.address"
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
    ask: Ask, worker: type, *args: Any, threads: int, calls: int | None = None, log_path: Path | None = None
) -> Actor:
    """One actor of a plain class; it may still be starting. `threads`: OpenMP threads; `calls`: that it may have under
    way at once, of asynchronous methods; None = Ray's own number, which is 1 where the methods are plain ones (a number
    would have each call run in another thread)."""
    env = {**WORKER_ENV, "OMP_NUM_THREADS": str(threads)}
    handle = (
        ray.remote(worker)
        .options(
            num_cpus=ask.cpus,
            num_gpus=ask.gpus,
            max_restarts=0,
            max_concurrency=calls,
            runtime_env={"env_vars": env},
        )
        .remote(*args)
    )
    return Actor(name=ask.name, handle=handle, log_path=log_path)


@dataclass(frozen=True, slots=True)
class _Workers:
    engines: Sequence[RolloutActor]
    learner: Actor
    reward: Sequence[Actor]

    async def ready(self, *, limit_s: float) -> None:
        """Wait until all are."""
        starts: list[Coroutine[Any, Any, Any]] = [engine.start() for engine in self.engines]
        starts += [a.call("start", doing="opening the knowledge store", limit_s=limit_s) for a in self.reward]
        starts.append(self.learner.call("__ray_ready__", doing="starting", limit_s=limit_s))
        await all_or_first_error(starts)


def _spawn_all(
    config: Config, *, asks: Sequence[Ask], model_path: Path, knowledge: BuiltStore, run_dir: Path
) -> _Workers:
    """Ask Ray for the actors in the order of `asks`: engines first, so that small actors cannot break up the machines
    that the large ones need."""
    logs, count = (run_dir / "logs").resolve(), config.rollout.workers
    model, calls = str(model_path.resolve()), config.calls_under_way
    engines = []
    for ask in asks[:count]:
        path = logs / f"{ask.name}.log"
        args = (config, model, ask.name, str(path))
        make = partial(spawn, ask, RolloutWorker, *args, threads=config.rollout.threads, calls=calls, log_path=path)
        engines.append(
            RolloutActor(
                make,
                start_limit_s=config.ray.start_timeout_s,
                limit_s=config.loop.stall_s,
                group_limit_s=config.group_limit_s,
            ),
        )
    path = logs / "learner.log"
    learner = spawn(asks[count], LearnerWorker, config, model, str(path), threads=config.learner.threads, log_path=path)
    reward = [spawn(ask, RewardWorker, config, knowledge, threads=1, calls=calls) for ask in asks[count + 1 :]]
    return _Workers(engines=engines, learner=learner, reward=reward)


def _adapt(config: Config, *, workers: _Workers, trace: Trace) -> Actors:
    rollout, limit_s = config.rollout, config.loop.stall_s
    return Actors(
        rollouts=RolloutPool(
            workers.engines,
            sampling=Sampling(n=rollout.group_size, temperature=rollout.temperature, max_tokens=rollout.max_tokens),
            probe_tolerance=config.probe_tolerance,
            restarts=rollout.restarts,
            trace=trace,
        ),
        # A worker gives a group back within reward.hold_s + reward.timeout_s, which is less (config/rules.py).
        reward=RewardPool(workers.reward, limit_s=limit_s, trace=trace),
        learner=LearnerActor(workers.learner, limit_s=limit_s),
    )
