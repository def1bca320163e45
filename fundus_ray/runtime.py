"""The running system: starting the actors, adapting them to loop.py, stopping them in order.

In: the configuration, the policy's folder, the built knowledge store, the run folder. Out: `Actors`, whose members
are loop.py's parts. Every call has a time limit, and a dead actor fails its calls at once (actors.py). Engines and
reward actors are started again (crew.py).

On a cluster of several machines the policy's, the knowledge's and the run's folder must be shared by all of them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_ray.actors import ModelActor, RewardActor, RolloutActor
from fundus_ray.cluster import cluster, spawn
from fundus_ray.colocation import TakingTurns
from fundus_ray.config import Config
from fundus_ray.crew import Care
from fundus_ray.data.images import read_pixels
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.evaluate.benchmarks.pictures import AskedImage
from fundus_ray.gather import all_or_first_error
from fundus_ray.knowledge.store import BuiltStore
from fundus_ray.learner_ranks import LearnerRanks
from fundus_ray.loop import Parts
from fundus_ray.model_pool import ModelPool
from fundus_ray.obs.faults import Tell
from fundus_ray.obs.trace import Trace
from fundus_ray.places import Group, asks_of, engines_alone, groups_of, learner_group
from fundus_ray.policy.stored_adapter import StoredAdapter
from fundus_ray.policy.worker import ModelWorker
from fundus_ray.reservation import Places, reserved
from fundus_ray.reward_pool import RewardPool
from fundus_ray.spawner import Spawner
from fundus_ray.types import Sampling

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

CLOSE_S = 30.0  # longest orderly stop of an engine; after that its process is killed
ANSWER_SLACK_S = 60.0  # an engine aborts a request after loop.stall_s itself; one that does not even do that hangs


@dataclass(frozen=True, slots=True)
class Actors:
    """The running system."""

    rollouts: RolloutPool
    reward: RewardPool
    learner: LearnerRanks | TakingTurns

    @property
    def parts(self) -> Parts:
        """As the loop takes them."""
        return Parts(rollouts=self.rollouts, reward=self.reward, learner=self.learner)


@asynccontextmanager
async def start(
    config: Config, *, model_path: Path, knowledge: BuiltStore, run_dir: Path, trace: Trace, tell: Tell
) -> AsyncIterator[Actors]:
    """All actors, ready for work; on leaving, also by an error or Ctrl-C, they are closed and Ray is shut down.

    "All" are those that the run needs; the others join when the cluster has a place for them. Workers write to
    run_dir/logs/NAME.log; `tell` hears of each one that died. Raises ConfigError before any actor starts where the
    cluster is too small or not there, NoPlaceError where it has no room within ray.start_timeout_s, and WorkerDiedError
    where an actor with a place has not started within as long again.
    """
    groups, model = groups_of(config), str(model_path.resolve())
    async with _placed(config, groups) as places:
        spawner = Spawner(config, places=places, model=model, logs=(run_dir / "logs").resolve())
        workers = _spawn_all(spawner, [group for group in groups if group.required], knowledge=knowledge)
        await workers.ready(limit_s=config.ray.start_timeout_s)
        actors = _adapt(config, workers=workers, trace=trace, tell=tell)
        add = partial(_add, actors, spawner, knowledge)
        async with _closed_at_the_end(actors.rollouts), _closed_at_the_end(actors.reward), places.kept(add):
            yield actors


@asynccontextmanager
async def start_learner(config: Config, *, model_path: Path, run_dir: Path) -> AsyncIterator[LearnerRanks]:
    """The learner alone, for rollouts that were recorded. Raises as `start` does."""
    config = replace(config, ray=replace(config.ray, colocate=False))  # its GPU is its own
    groups = [learner_group(config)]
    async with _placed(config, groups) as places:
        spawner = Spawner(config, places=places, model=str(model_path.resolve()), logs=(run_dir / "logs").resolve())
        learner = spawner.learner(asks_of(groups))
        await learner.start(limit_s=config.ray.start_timeout_s)
        yield learner


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
    groups = engines_alone(role, config)
    async with _placed(config, groups) as places:
        engines = []
        for ask in asks_of(groups):
            path = log_dir.resolve() / f"{ask.name}.log"
            args = (config, str(model_path.resolve()), ask.name, str(path), read, adapter)
            calls, threads = config.calls_under_way, config.rollout.threads
            place = places.of(ask.name)
            make = partial(spawn, ask, ModelWorker, *args, threads=threads, calls=calls, log_path=path, place=place)
            limits = {"start_limit_s": config.ray.start_timeout_s, "limit_s": config.loop.stall_s + ANSWER_SLACK_S}
            engines.append(ModelActor(make, loading=str(model_path), **limits))
        await all_or_first_error([engine.start() for engine in engines])
        pool = ModelPool(engines, care=_care_of_engines(config))
        async with _closed_at_the_end(pool):
            yield pool


@asynccontextmanager
async def _placed(config: Config, groups: Sequence[Group]) -> AsyncIterator[Places]:
    """A connected cluster with a place for each actor that is needed."""
    limit_s, at_once = config.ray.start_timeout_s, config.ray.autoscale
    with cluster(config, groups):
        async with reserved(groups, limit_s=limit_s, at_once=at_once) as places:
            yield places


@asynccontextmanager
async def _closed_at_the_end(pool: RolloutPool | ModelPool | RewardPool) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await pool.close(limit_s=CLOSE_S)  # what goes wrong here follows from the error on its way
        raise
    for problem in await pool.close(limit_s=CLOSE_S):
        log.warning("%s", problem)


@dataclass(frozen=True, slots=True)
class _Workers:
    engines: Sequence[RolloutActor]
    learner: LearnerRanks
    reward: Sequence[RewardActor]

    async def ready(self, *, limit_s: float) -> None:
        """Wait until all are."""
        starts: list[Coroutine[Any, Any, Any]] = [engine.start() for engine in self.engines]
        starts += [worker.start() for worker in self.reward]
        starts.append(self.learner.start(limit_s=limit_s))
        await all_or_first_error(starts)


def _spawn_all(spawner: Spawner, needed: Sequence[Group], *, knowledge: BuiltStore) -> _Workers:
    """Ask Ray for the actors, each in its place."""
    return _Workers(
        engines=[spawner.engine(ask) for ask in asks_of(needed, "rollout")],
        learner=spawner.learner(asks_of(needed, "learner")),
        reward=[spawner.scorer(ask, knowledge) for ask in asks_of(needed, "reward")],
    )


def _add(actors: Actors, spawner: Spawner, knowledge: BuiltStore, came: Group) -> None:
    """What has a place now joins the others once it has started."""
    for ask in asks_of([came], "rollout"):
        actors.rollouts.add(spawner.engine(ask))
    for ask in asks_of([came], "reward"):
        actors.reward.add(spawner.scorer(ask, knowledge, joins=True))


def _adapt(config: Config, *, workers: _Workers, trace: Trace, tell: Tell) -> Actors:
    rollout, learner = config.rollout, workers.learner
    engines = RolloutPool(
        workers.engines,
        sampling=Sampling(n=rollout.group_size, temperature=rollout.temperature, max_tokens=rollout.max_tokens),
        probe_tolerance=config.probe_tolerance,
        care=_care_of_engines(config, tell=tell),
        trace=trace,
    )
    return Actors(
        rollouts=engines,
        reward=RewardPool(
            workers.reward,
            care=Care(
                role="reward",
                setting="reward.restarts",
                restarts=config.reward.restarts,
                hang_s=config.hang_s,
                place_s=config.ray.start_timeout_s,
                at_least=config.reward.min_workers or 1,
                tell=tell,
            ),
            trace=trace,
        ),
        learner=TakingTurns(learner, engines=engines, trace=trace) if config.ray.colocate else learner,
    )


def _care_of_engines(config: Config, *, tell: Tell = lambda _: None) -> Care:
    return Care(
        role="engine",
        setting="rollout.restarts",
        restarts=config.rollout.restarts,
        hang_s=config.hang_s,
        place_s=config.ray.start_timeout_s,
        at_least=config.rollout.min_workers or 1,
        tell=tell,
    )
