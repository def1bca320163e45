"""One run in simulated time: the real `loop.train`, with its buffer, around parts that only take time.

In: a configuration, service times, a seed. Out: `Outcome`. Which prompt starts when, what is trained with what, how old
it is and when slots are freed is decided by the loop's own code; idle shares and lags are the ones that it logs.

A simulated group carries one rollout of one token, whatever its size: the loop asks for no more, and thousands of
workers stay quick. Its real lengths are known to the engines here, and counts of rollouts are scaled back.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fundus_ray.config import Config
from fundus_ray.loop import Parts, Position, Published, train
from fundus_ray.obs.step_times import async_ceiling
from fundus_ray.obs.trace import Trace
from fundus_ray.obs.virtual_time import VirtualTimeLoop, run_virtual
from fundus_ray.plan.engine import EngineServer
from fundus_ray.plan.service import Service
from fundus_ray.quarantine import Quarantine
from fundus_ray.rollout.balance import Balance
from fundus_ray.types import (
    DeliveryProof,
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    ScoredGroup,
    ScoredRollout,
    StepResult,
    TrainBatch,
)

STALL_S = 1e9  # nothing stalls here, and slow parts must not end a simulation
ENDLESS = 10**9  # steps
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
SLICES = 8  # of an update, in each of which it sees how many engines work
LAG = "lag/hist_"
STAGES = ("generate", "score", "update", "publish", "deliver")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Means over the steps that were looked at. A stage's seconds a step: as obs/step_times.py measures them."""

    steps: int
    seconds: float  # of these steps together
    groups_per_s: float  # trained
    samples_per_s: float
    learner_idle: float
    generator_idle: float
    lags: dict[int, float]  # lag in versions -> share of the trained samples
    stage_s: dict[str, float]

    @property
    def ceiling(self) -> float:
        """(Tg + Tr + Tt + Ts) / max(Tg, Tr, Tt + Ts) of these stages."""
        s = self.stage_s
        return async_ceiling(
            generate_s=s["generate"], score_s=s["score"], update_s=s["update"], sync_s=s["publish"] + s["deliver"]
        )


def simulate(config: Config, service: Service, *, seed: int) -> Outcome:
    """A whole run: `config.loop.steps` steps, those in which the pipeline fills and drains among them."""
    book = _run(config, service, seed=seed, stop_after=config.loop.steps)
    return _outcome(config, book.metrics, seconds=book.ends[-1])


def simulate_middle(config: Config, service: Service, *, seed: int, steps: int) -> Outcome:
    """`steps` steps out of an endless run, after ceil(ratio) + 1 others, by which the buffer is full. Where the two
    sides are nearly as fast as each other, lags and idle shares settle more slowly than that."""
    fill = math.ceil(config.loop.async_ratio) + 1
    endless = replace(config, loop=replace(config.loop, steps=ENDLESS))
    book = _run(endless, service, seed=seed, stop_after=fill + steps)
    return _outcome(config, book.metrics[fill:], seconds=book.ends[-1] - book.ends[fill - 1])


def _run(config: Config, service: Service, *, seed: int, stop_after: int) -> _Book:
    quiet = replace(config, loop=replace(config.loop, stall_s=STALL_S))
    return run_virtual(lambda: _train(quiet, service, random.Random(seed), stop_after=stop_after))


async def _train(config: Config, service: Service, chance: random.Random, *, stop_after: int) -> _Book:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    assert isinstance(loop, VirtualTimeLoop)
    trace, book = Trace(clock=loop.time), _Book(loop, _EvenDraws(service.overhead_s, chance), stop, stop_after)
    engines = _Engines(config, service, chance, trace)
    learner = _Learner(service, chance, engines)

    async def checkpoint(position: Position) -> None:
        """The learner's side waits for it; engines and reward go on."""
        await asyncio.sleep(chance.choice(service.checkpoint_s))

    await train(
        config,
        parts=Parts(rollouts=engines, reward=_Reward(config, service, chance, trace), learner=learner),
        prompt_at=lambda group_id: Prompt(sample=_SAMPLE, system="", user="", group_id=group_id, seed=0),
        trace=trace,
        observer=book,
        quarantine=Quarantine(limit=0, note=lambda *_: None),
        checkpoint=checkpoint,
        stop=stop,
        start=Position(),
    )
    return book


def _outcome(config: Config, logged: Sequence[dict[str, float]], *, seconds: float) -> Outcome:
    groups = len(logged) * config.loop.groups_per_step
    lags: Counter[int] = Counter()
    for metrics in logged:
        lags.update({int(k.removeprefix(LAG)): int(v) for k, v in metrics.items() if k.startswith(LAG)})
    windows = math.fsum(m["time/step"] for m in logged)

    def share(name: str) -> float:
        return math.fsum(m[name] * m["time/step"] for m in logged) / windows

    return Outcome(
        steps=len(logged),
        seconds=seconds,
        groups_per_s=groups / seconds,
        samples_per_s=groups * config.rollout.group_size / seconds,
        learner_idle=share("idle/learner"),
        generator_idle=share("idle/generator"),
        lags={lag: count / lags.total() for lag, count in sorted(lags.items())},
        stage_s={name: math.fsum(m[f"time/{name}"] for m in logged) / len(logged) for name in STAGES},
    )


class _Engines:
    """`Rollouts`: each prompt to the engine with the fewest under way, as actors.py does it."""

    def __init__(self, config: Config, service: Service, chance: random.Random, trace: Trace) -> None:
        self._service, self._chance, self._trace = service, chance, trace
        self._balance = Balance(config.rollout.workers)
        self._engines = [_Engine(config, service, f"rollout-{i}") for i in range(config.rollout.workers)]
        self._version = PolicyVersion(step=0, sha256="")

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        with self._balance.lease() as index:
            engine, version = self._engines[index], self._version
            with self._trace.span("generate", worker=engine.name, group=prompt.group_id):
                await engine.write(prompt.group_id, self._chance.choice(self._service.lengths))
        rollout = Rollout(token_ids=(0,), logprobs=(0.0,), text="", finish_reason="stop", seed=0, policy=version)
        return RolloutGroup(
            prompt=prompt,
            prompt_token_ids=(0,),
            rollouts=(rollout,),
            worker=engine.name,
            started_s=0.0,
            finished_s=0.0,
        )

    async def set_policy(self, published: Published) -> list[DeliveryProof]:
        """One draw: what was measured, or stated, is the time until the last of all engines has the version."""
        any_busy = any(engine.busy for engine in self._engines)
        taken = self._chance.choice(self._service.deliver_busy_s if any_busy else self._service.deliver_idle_s)
        await asyncio.sleep(taken)
        self._version = published.version
        return [replace(_PROOF, version=published.version, seconds=taken)]

    @property
    def busy_share(self) -> float:
        """Of the engines, those with work."""
        return sum(engine.busy for engine in self._engines) / len(self._engines)

    def set_pace(self, pace: float) -> None:
        """Of all engines, from now on."""
        for engine in self._engines:
            engine.set_pace(pace)


class _Engine:
    """An `EngineServer` on the event loop's clock: one timer, for the next request to be done."""

    def __init__(self, config: Config, service: Service, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._server = EngineServer(
            service.engine, max_seqs=config.rollout.max_seqs, warm_up_s=service.engine_warm_up_s
        )
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_due = False  # to be set again, once for all that changes at one moment

    @property
    def busy(self) -> bool:
        return bool(self._awaited)

    async def write(self, request: int, lengths: Sequence[int]) -> None:
        self._server.arrive(request, lengths, at_s=self._loop.time())
        done = self._awaited[request] = self._loop.create_future()
        self._renew_timer()
        await done

    def set_pace(self, pace: float) -> None:
        self._server.set_pace(pace, at_s=self._loop.time())
        self._renew_timer()

    def _renew_timer(self) -> None:
        if not self._timer_is_due:
            self._timer_is_due = True
            self._loop.call_soon(self._set_timer)

    def _set_timer(self) -> None:
        self._timer_is_due = False
        if self._timer is not None:
            self._timer.cancel()
        at = self._server.next_s()
        self._timer = None if at is None else self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        for request, _ in self._server.advance(to_s=self._loop.time()):
            waiting = self._awaited.pop(request)
            if not waiting.done():  # else the simulation has been stopped
                waiting.set_result(None)
        self._renew_timer()


class _Reward:
    """`Reward`: each group to the worker with the fewest under way, which scores one after the other."""

    def __init__(self, config: Config, service: Service, chance: random.Random, trace: Trace) -> None:
        self._service, self._chance, self._trace = service, chance, trace
        self._balance = Balance(config.reward.workers)
        self._free_s = [0.0] * config.reward.workers

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        now = asyncio.get_running_loop().time()
        with self._balance.lease() as index:
            self._free_s[index] = max(now, self._free_s[index]) + self._chance.choice(self._service.score_s)
            with self._trace.span("score", worker=f"reward-{index}", group=group.prompt.group_id):
                await asyncio.sleep(max(self._free_s[index], now + self._service.score_least_s) - now)
        dropped = self._chance.random() < self._service.drop_share
        return ScoredGroup(
            group=group,
            scored=(replace(_SCORED, rollout=group.rollouts[0]),),
            trainable=not dropped,
            drop_reason="as in the run" if dropped else "",
            started_s=0.0,
            finished_s=0.0,
        )


class _EvenDraws:
    """Draws of which few have nearly the mean of all: steps of the golden ratio through the values in order, from a
    random start (a Kronecker sequence). For what is drawn once a step, as only some steps are simulated."""

    def __init__(self, values: Sequence[float], chance: random.Random) -> None:
        self._values = sorted(values)
        self._at = chance.random()

    def draw(self) -> float:
        self._at = (self._at + GOLDEN_RATIO) % 1.0
        return self._values[int(self._at * len(self._values))]


class _Learner:
    """`Learner`: an update is a draw for each group, slower while engines work and slowing them."""

    def __init__(self, service: Service, chance: random.Random, engines: _Engines) -> None:
        self._service, self._engines = service, engines
        self._update, self._publish = _EvenDraws(service.update_s, chance), _EvenDraws(service.publish_s, chance)
        self._step = 0

    async def update(self, batch: TrainBatch) -> StepResult:
        alone = self._update.draw() * len(batch.images) + (0.0 if self._step else self._service.first_update_s)
        if self._service.engine_drag:
            self._engines.set_pace(1 / (1 + self._service.engine_drag))
        for _ in range(SLICES if self._service.learner_drag else 1):
            slower = 1 + self._service.learner_drag * self._engines.busy_share
            await asyncio.sleep(alone * slower / (SLICES if self._service.learner_drag else 1))
        if self._service.engine_drag:
            self._engines.set_pace(1.0)
        self._step += 1
        return StepResult(step=self._step, seconds=0.0)

    async def publish(self) -> Published:
        await asyncio.sleep(self._publish.draw())
        return Published(version=PolicyVersion(step=self._step, sha256=""), payload=None)


@dataclass(slots=True)
class _Book:
    """`Observer`: keeps what is logged; the driver's own work holds up everything, as it does in a run."""

    loop: VirtualTimeLoop
    overhead: _EvenDraws
    stop: asyncio.Event
    stop_after: int  # steps
    metrics: list[dict[str, float]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics.append(metrics)
        self.loop.spend(self.overhead.draw())
        self.ends.append(self.loop.time())
        if step >= self.stop_after:
            self.stop.set()

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """Nothing is kept of these."""


_SAMPLE = Sample(
    id="",
    image=ImageRef(path="", sha256="", width_px=0, height_px=0),
    modality=Modality.CFP,
    question="",
    options=(),
    answer=(),
    task="",
    source="",
    split="train",
    patient_id="",
)
_SCORED = ScoredRollout(
    rollout=Rollout((), (), "", "stop", 0, PolicyVersion(0, "")),
    status=RewardStatus.SCORED,
    total=0.0,
    parts={},
    answer=None,
    findings=(),
    claims=(),
    explanation=(),
    evidence=(),
    snapshot="",
)
_PROOF = DeliveryProof(
    worker="",
    version=PolicyVersion(0, ""),
    sha256="",
    listed=True,
    probe_error=0.0,
    probe_shift=None,
    seconds=0.0,
)
