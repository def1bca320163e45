"""The RLVR loop. No Ray, no torch: the parts come in as objects, the runtime makes them of actors.

    prompt_at(group_id) -> [free slot] -> rollouts.generate -> reward.score -> oldest group first* -> pack
                               ^                                                                      v
                        slots released <- rollouts.set_policy, proven <- learner.publish <- learner.update

In: prompts by group id, and the parts. Out: one `log_step` and `log_scored` a step, checkpoints, totals of the run.
The step that updates version s makes version s + 1 and is logged under s + 1; its spans carry the id step=s.

How stale: the buffer has ceil((1 + async_ratio) x groups_per_step) slots and a slot is freed only once the new version
is live in every engine, so no trained group is older than ceil(async_ratio) versions (proof: rollout/buffer.py).
async_ratio = 0 is synchronous training on the same code path.
* With loop.window > 0 a finished group may pass unfinished ones, within the same bound (rollout/lookahead.py).

What each side waits for: the feeder waits for a slot (span "wait_slot"), the learner's side for a group ("wait_group").
Time is read from the trace's clock (spans) and the event loop's (limits), so that all of it also runs simulated.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fundus_ray.config import Config
from fundus_ray.errors import DataError, ImagesError, SampleError, StalledError
from fundus_ray.learner.batch import pack
from fundus_ray.obs.step_times import step_times
from fundus_ray.obs.trace import Trace
from fundus_ray.quarantine import QUARANTINED, Quarantine, quarantined
from fundus_ray.rollout.buffer import Job, SlotBuffer
from fundus_ray.rollout.lookahead import Lookahead
from fundus_ray.step_metrics import dropped, fault_metrics, step_metrics
from fundus_ray.types import (
    DeliveryProof,
    PolicyVersion,
    Prompt,
    RewardStatus,
    RolloutGroup,
    ScoredGroup,
    StepResult,
    TrainBatch,
)


@dataclass(frozen=True, slots=True)
class Published:
    """A version that the learner has published; `payload` (the adapter or a handle to it) is only carried on."""

    version: PolicyVersion
    payload: object


class Rollouts(Protocol):
    """The engines. Records a span "generate" with the ids `worker` and `group` around each group."""

    async def generate(self, prompt: Prompt) -> RolloutGroup:
        """All rollouts of one prompt, under the newest version that the engine holds."""

    async def set_policy(self, published: Published) -> Sequence[DeliveryProof]:
        """Bring the version to every engine; one proof each. Raises DeliveryError where one is missing or wrong."""


class Reward(Protocol):
    """The reward workers. Records a span "score" with the ids `worker` and `group` around each group."""

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scores, or marked untrainable with the reason."""


class Learner(Protocol):
    """The policy's owner."""

    async def update(self, batch: TrainBatch) -> StepResult:
        """One step on the batch. Raises ImagesError, with the policy as it was, where it cannot read some images."""

    async def publish(self) -> Published:
        """The version as it is now."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Who does the work."""

    rollouts: Rollouts
    reward: Reward
    learner: Learner


class Observer(Protocol):
    """Where the numbers go (obs/sinks.py)."""

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """One step's metrics."""

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """All groups that the step took, trained or dropped."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: `step` updates done, groups before `group_id` and those of `passed` trained or dropped. All
    that a resume needs."""

    step: int = 0
    group_id: int = 0
    passed: tuple[int, ...] = ()  # in ascending order; empty where groups are taken in the order of admission

    def after(self, taken: Collection[int]) -> Position:
        """One update later, groups with these ids trained or dropped."""
        done, first = {*self.passed, *taken}, self.group_id
        while first in done:
            done.remove(first)
            first += 1
        return Position(step=self.step + 1, group_id=first, passed=tuple(sorted(done)))


@dataclass(slots=True)
class Totals:
    """What a call of `train` did."""

    position: Position
    lag_max: int = 0
    publishes: int = 0
    deliveries_proven: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # groups by reason

    def add(self, *, taken: Sequence[ScoredGroup], batch: TrainBatch, proofs: Sequence[DeliveryProof]) -> None:
        """Count one more step."""
        self.position = self.position.after([scored.group.prompt.group_id for scored in taken])
        self.lag_max = max(self.lag_max, batch.policy_step - int(batch.policy_steps.min()))
        self.publishes += 1
        self.deliveries_proven += len(proofs)
        self.dropped.update(dropped(taken))


async def train(
    config: Config,
    *,
    parts: Parts,
    prompt_at: Callable[[int], Prompt],
    trace: Trace,
    observer: Observer,
    quarantine: Quarantine,
    checkpoint: Callable[[Position], Awaitable[None]],
    stop: asyncio.Event,
    start: Position,
) -> Totals:
    """Update the policy up to version `config.loop.steps`; where `stop` is set, finish the step and end there.

    On entry every engine holds version `start.step` (`deliver` brings it there). A checkpoint is asked for every
    `config.loop.checkpoint_every` steps and at the end. A sample that a part refuses (SampleError) goes to `quarantine`
    and its group is dropped; other errors of the parts are raised as they are. In addition StalenessError,
    WorkerDiedError where no group comes for `config.loop.stall_s`, and, after a checkpoint of the steps done,
    StalledError where none can be trained on for so long, and DataError where too many samples are left out.
    """
    loop, totals, saved = config.loop, Totals(position=start), start
    if start.step >= loop.steps:
        return totals
    buffer = SlotBuffer(
        _capacity(config, done=start.step),
        stall_s=loop.stall_s,
        trace=trace,
        lookahead=Lookahead(window=loop.window, groups_per_step=loop.groups_per_step, max_lag=config.max_lag),
    )
    buffer.start(_jobs(parts, prompt_at=prompt_at, quarantine=quarantine, start=start))
    stopwatch = _Stopwatch(config, trace)
    try:
        while totals.position.step < loop.steps and not stop.is_set():
            step = totals.position.step
            with trace.span("wait_group", step=step):
                taken = await _take_trainable(buffer, loop.groups_per_step, stall_s=loop.stall_s)
            batch, result = await _update(
                config, parts.learner, taken, step=step, buffer=buffer, quarantine=quarantine, trace=trace
            )
            proofs = await deliver(parts, trace=trace)
            buffer.release(loop.groups_per_step, capacity=_capacity(config, done=step + 1))

            times = stopwatch.lap()
            metrics = step_metrics(taken, batch=batch, learner=result.metrics, proofs=proofs, times=times)
            observer.log_scored(step + 1, taken)
            observer.log_step(step + 1, metrics)
            totals.add(taken=taken, batch=batch, proofs=proofs)
            if loop.checkpoint_every and (step + 1) % loop.checkpoint_every == 0:
                await checkpoint(saved := totals.position)
                stopwatch.skip()
    except (StalledError, DataError):
        if totals.position != saved:  # nothing is broken, so nothing that was learned need be lost
            await checkpoint(totals.position)
        raise
    else:
        if totals.position != saved:
            await checkpoint(totals.position)
    finally:
        await buffer.close()
    return totals


async def deliver(parts: Parts, *, trace: Trace) -> Sequence[DeliveryProof]:
    """Publish the learner's version and bring it to every engine, with proof. Raises DeliveryError."""
    with trace.span("publish"):
        published = await parts.learner.publish()
    with trace.span("deliver", step=published.version.step, sha256=published.version.sha256):
        return await parts.rollouts.set_policy(published)


async def _update(
    config: Config,
    learner: Learner,
    taken: list[ScoredGroup],
    *,
    step: int,
    buffer: SlotBuffer,
    quarantine: Quarantine,
    trace: Trace,
) -> tuple[TrainBatch, StepResult]:
    """One step on the trainable groups of `taken`. One whose image the learner cannot read is dropped, and the next
    one taken in its place."""
    while True:
        places = [place for place, group in enumerate(taken) if group.trainable]
        batch = pack([taken[place] for place in places], policy_step=step, max_lag=config.max_lag)
        try:
            with trace.span("update", step=step):
                return batch, await learner.update(batch)
        except ImagesError as err:
            for image, reason in err.reasons.items():
                place = places[image]
                quarantine.add(taken[place].group.prompt, reason)
                taken[place] = replace(taken[place], trainable=False, drop_reason=QUARANTINED)
            buffer.give_up(len(err.reasons))
            with trace.span("wait_group", step=step):
                taken += await _take_trainable(buffer, len(err.reasons), stall_s=config.loop.stall_s)


async def _take_trainable(buffer: SlotBuffer, count: int, *, stall_s: float) -> list[ScoredGroup]:
    """Groups in the buffer's order up to the `count`-th trainable one. Dropped ones have freed their slots already."""
    taken: list[ScoredGroup] = []
    now = asyncio.get_running_loop().time
    trainable, last = 0, now()
    while trainable < count:
        taken.append(await buffer.take())
        if taken[-1].trainable:
            trainable, last = trainable + 1, now()
        elif now() - last > stall_s:
            raise StalledError(_stalled(taken, count=count, trainable=trainable, stall_s=stall_s))
    return taken


def _stalled(taken: Sequence[ScoredGroup], *, count: int, trainable: int, stall_s: float) -> str:
    """What was dropped, by reason; why groups could not be scored, and since when search or checker is down."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped(taken).items()))
    said = (
        f"no trainable group for {stall_s:g} s (loop.stall_s): this step took {trainable} of {count}; "
        f"dropped: {reasons}"
    )
    lost = [g for g in taken if g.scored and g.scored[0].status is RewardStatus.UNSCORABLE]
    if lost:
        said += f"; the last was {lost[-1].scored[0].explanation[0]}"
    down = [g for g in taken if g.cost.outage == "drop"]
    if down:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(min(g.finished_s - g.cost.held_s for g in down)))
        said += (
            f"; search or checker is down since {since}, {len(down)} groups were dropped for it: start it again and go "
            "on from the checkpoint; to live through a longer outage set loop.stall_s higher, or reward.outage=mask"
        )
    return said


def _jobs(
    parts: Parts, *, prompt_at: Callable[[int], Prompt], quarantine: Quarantine, start: Position
) -> Iterator[Job]:
    async def write_and_score(prompt: Prompt) -> ScoredGroup:
        reason = quarantine.reason(prompt.sample.id)
        if not reason:
            try:
                return await parts.reward.score(await parts.rollouts.generate(prompt))
            except SampleError as err:
                reason = str(err)
        quarantine.add(prompt, reason)
        return quarantined(prompt, at_s=time.time())

    def job(group_id: int) -> Job:
        prompt = prompt_at(group_id)
        return Job(name=f"group {group_id}", run=lambda: write_and_score(prompt))

    passed = frozenset(start.passed)
    return (job(group_id) for group_id in itertools.count(start.group_id) if group_id not in passed)


def _capacity(config: Config, *, done: int) -> int:
    """Slots after `done` steps: towards the end no prompt starts that could not be used."""
    return min(config.buffer_capacity, (config.loop.steps - done) * config.loop.groups_per_step)


class _Stopwatch:
    """Steps end to end: what is written down of one is time of the next, but a checkpoint is of none."""

    def __init__(self, config: Config, trace: Trace) -> None:
        self._config = config
        self._trace = trace
        self._began = self._ended = trace.clock()

    def lap(self) -> dict[str, float]:
        """Metrics of the step that ends now; the next one begins. Restarts count from the end of the one before."""
        since = self._ended
        self._ended = max(self._trace.clock(), self._began + 1e-6)  # two readings of the clock may be equal
        spans = self._trace.window(start_s=since, end_s=self._ended)
        times = step_times(
            spans,
            start_s=self._began,
            end_s=self._ended,
            rollout_workers=self._config.rollout.workers,
            reward_workers=self._config.reward.workers,
        )
        self._began = self._ended
        return {
            **times.metrics(),
            "async/ratio": self._config.loop.async_ratio,  # the setting, beside what came of it
            **fault_metrics([span for span in spans if span.start_s > since]),
        }

    def skip(self) -> None:
        """What was done since the step's end belongs to no step."""
        self._began = self._trace.clock()
