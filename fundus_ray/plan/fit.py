"""From the times of one or more runs to the service times of their parts.

In: `TimedRun`s of one system. Out: `Fit`. The engine's numbers are found by replaying requests (engine_fit.py), how
much engines and learner slow each other with a prior (drag.py); everything else is read off the spans. The model is our
own; `Fit` says how far off it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from fundus_ray.errors import ConfigError
from fundus_ray.obs.trace import Span
from fundus_ray.plan.drag import DRAGS, doubtful, usual_drag
from fundus_ray.plan.engine_fit import by_worker, fit_engine
from fundus_ray.plan.service import Service, Values, mean
from fundus_ray.plan.timed_run import TimedRun

QUICK_TENTH = 0.1
ENOUGH_SPREAD = 0.3  # standard deviation of the updates' busy shares; 0.5 = half of them beside idle engines


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found, in what, and how far the engine model is off on the runs it was fitted to."""

    service: Service
    groups: int
    steps: int
    group_error_s: float  # mean |end of a group, replayed - measured|
    group_s: float  # mean time of a group, for comparison
    busy_share: float  # mean over the updates: the share of it in which an engine had work
    drag_is_seen: bool  # else it is the usual one, because nothing speaks against it


def fit(runs: Sequence[TimedRun]) -> Fit:
    """Service times of the runs' parts. Raises ConfigError where the runs are of different systems."""
    _check_one_system(runs)
    lengths = tuple(group for run in runs for group in run.lengths.values())
    updates = [update for run in runs for update in _updates(run)]
    shares = [update.busy for update in updates]
    mean_share = mean(tuple(shares))
    drag_is_seen = mean(tuple((share - mean_share) ** 2 for share in shares)) ** 0.5 >= ENOUGH_SPREAD
    usual = usual_drag(runs[0].config)
    drags = DRAGS if drag_is_seen else (usual,)
    engine = fit_engine(runs, drags=drags)
    learner_drag = _learner_drag([u for u in updates if not u.is_first], drags=drags, usual=usual)
    deliveries, overheads = [_deliveries(run) for run in runs], [_overheads(run) for run in runs]
    alone = tuple(u.group_s / (1 + learner_drag * u.busy) for u in updates if not u.is_first)
    idle, busy = (tuple(value for pair in deliveries for value in pair[i]) for i in (0, 1))
    return Fit(
        service=Service(
            lengths=lengths,
            engine=engine.speed,
            engine_warm_up_s=engine.warm_up_s,
            score_s=tuple(value for run in runs for value in _score_demands(run.score)),
            score_least_s=_quick([span for run in runs for span in run.score]),
            update_s=alone,
            first_update_s=_first_more(updates, learner_drag=learner_drag, usual_s=mean(alone)),
            publish_s=tuple(value for run in runs for value in _durations(run.publish)),
            deliver_idle_s=idle or busy,  # where no run has the one kind, the other stands for it
            deliver_busy_s=busy or idle,
            overhead_s=tuple(value for plain, _ in overheads for value in plain),
            checkpoint_s=tuple(value for _, more in overheads for value in more) or (0.0,),
            drop_share=sum(run.dropped for run in runs) / len(lengths),
            engine_drag=engine.drag,
            learner_drag=learner_drag,
        ),
        groups=len(lengths),
        steps=len(updates),
        group_error_s=engine.error_s,
        group_s=engine.group_s,
        busy_share=mean_share,
        drag_is_seen=drag_is_seen,
    )


def _check_one_system(runs: Sequence[TimedRun]) -> None:
    settings = [
        {
            "rollout.group_size": run.config.rollout.group_size,
            "rollout.max_tokens": run.config.rollout.max_tokens,
            "rollout.max_seqs": run.config.rollout.max_seqs,
            "rollout.gpus": run.config.rollout.gpus,
            "learner.gpus": run.config.learner.gpus,
        }
        for run in runs
    ]
    for key in settings[0]:
        values = sorted({one[key] for one in settings})
        if len(values) > 1:
            raise ConfigError(
                f"{key} is {' and '.join(f'{value:g}' for value in values)}: runs that are fitted together must agree "
                "in it; leave out those that differ"
            )


def _score_demands(spans: Sequence[Span]) -> Values:
    """What each group took of its worker, were the worker to score one after the other: from the end of the one before,
    or its own arrival where that was later, to its own end. Exact for such a worker; one that scores several at once
    has its rate met, at the load of the run."""
    demands: list[float] = []
    for own in by_worker(spans):
        before = float("-inf")
        for span in sorted(own, key=lambda s: s.end_s):
            demands.append(span.end_s - max(before, min(span.start_s, span.end_s)))
            before = span.end_s
    return tuple(demands)


def _quick(spans: Sequence[Span]) -> float:
    durations = sorted(_durations(spans))
    return durations[int(len(durations) * QUICK_TENTH)]


def _durations(spans: Sequence[Span]) -> Values:
    return tuple(span.end_s - span.start_s for span in spans)


@dataclass(frozen=True, slots=True)
class _Update:
    """`is_first`: of the run, in which caches fill and code warms up."""

    seconds: float
    groups: int
    busy: float  # share
    is_first: bool

    @property
    def group_s(self) -> float:
        return self.seconds / self.groups


def _updates(run: TimedRun) -> list[_Update]:
    return [
        _Update(
            seconds=span.end_s - span.start_s,
            groups=run.config.loop.groups_per_step,
            busy=run.busy_share(span),
            is_first=run.has_start and i == 0,
        )
        for i, span in enumerate(run.update)
    ]


def _learner_drag(updates: Sequence[_Update], *, drags: Sequence[float], usual: float) -> float:
    """Of `drags` that under which the seconds a group, without it, are nearest to their median."""

    def error(drag: float) -> float:
        alone = [u.group_s / (1 + drag * u.busy) for u in updates]
        middle = median(alone)
        off = mean(tuple(abs(u.group_s - middle * (1 + drag * u.busy)) for u in updates))
        return doubtful(off, of=middle, drag=drag, usual=usual, steps=len(updates))

    return min(drags, key=error)


def _first_more(updates: Sequence[_Update], *, learner_drag: float, usual_s: float) -> float:
    """How much longer [s] first updates took than others."""
    more = [u.seconds / (1 + learner_drag * u.busy) - usual_s * u.groups for u in updates if u.is_first]
    return max(0.0, mean(tuple(more))) if more else 0.0


def _deliveries(run: TimedRun) -> tuple[Values, Values]:
    """(to engines none of which had work, to others) [s]."""
    idle: list[float] = []
    busy: list[float] = []
    for span in run.deliver:
        working = any(s.start_s <= span.start_s < s.end_s for s in run.generate)
        (busy if working else idle).append(span.end_s - span.start_s)
    return tuple(idle), tuple(busy)


def _overheads(run: TimedRun) -> tuple[Values, Values]:
    """(what a step took beside its spans up to the start of the next: packing, writing; what a checkpoint took) [s].

    A checkpoint is no span: it is what its step took beside its spans more than the mean of the steps without one.
    """
    every = run.config.loop.checkpoint_every
    plain: list[float] = []
    with_checkpoint: list[float] = []
    for i, (wait, update, deliver) in enumerate(zip(run.wait_group, run.update, run.deliver, strict=True)):
        after = run.wait_group[i + 1].start_s - deliver.end_s if i + 1 < len(run.wait_group) else 0.0
        seconds = max(0.0, update.start_s - wait.end_s + after)
        is_saved = every > 0 and int(deliver.ids["step"]) % every == 0 and i + 1 < len(run.wait_group)
        (with_checkpoint if is_saved else plain).append(seconds)
    if not with_checkpoint or not plain:
        return tuple(plain or with_checkpoint), ()
    usual = mean(tuple(plain))
    return tuple(plain), tuple(max(0.0, seconds - usual) for seconds in with_checkpoint)
