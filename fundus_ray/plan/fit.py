"""From a run's times to the service times of its parts.

In: `TimedRun`. Out: `Fit`. The engine's three numbers and its drag are those under which the engine model, given the
same requests at the same times, ends the groups nearest to when the run ended them (mean absolute difference, found by
Nelder-Mead). Everything else is read off the spans. The model is our own; `Fit` says how far off it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.optimize import minimize

from fundus_ray.obs.step_times import mean_busy
from fundus_ray.obs.trace import Span
from fundus_ray.plan.engine import EngineServer, EngineSpeed
from fundus_ray.plan.service import Service, Values, mean
from fundus_ray.plan.timed_run import TimedRun

MOST_DRAG = 4.0
SHORTEST_S = 1e-9
EVALUATIONS = 240  # of the replay: about where four numbers settle
QUICK_TENTH = 0.1
LEAST_SPREAD = 0.02  # of busy shares: with less, a drag on the learner cannot be told from its speed


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found, in what, and how far the engine model is off on the run it was fitted to."""

    service: Service
    groups: int
    steps: int
    group_error_s: float  # mean |end of a group, replayed - measured|
    group_s: float  # mean time of a group, for comparison


def fit(run: TimedRun) -> Fit:
    """Service times of the run's parts."""
    lengths = tuple(run.lengths.values())
    engine, drag, error = _fit_engine(run)
    idle, busy = _deliveries(run)
    overhead, checkpoint = _overheads(run)
    busy_shares = [_busy_share(run, span) for span in run.update]
    learner_drag = _learner_drag([s.end_s - s.start_s for s in run.update], busy_shares)
    groups = run.config.loop.groups_per_step
    return Fit(
        service=Service(
            lengths=lengths,
            engine=engine,
            score_s=_score_demands(run.score),
            score_least_s=_quick(run.score),
            update_s=tuple(
                (span.end_s - span.start_s) / (1 + learner_drag * share) / groups
                for span, share in zip(run.update, busy_shares, strict=True)
            ),
            publish_s=_durations(run.publish),
            deliver_idle_s=idle,
            deliver_busy_s=busy,
            overhead_s=overhead,
            checkpoint_s=checkpoint,
            drop_share=run.dropped / len(lengths),
            engine_drag=drag,
            learner_drag=learner_drag,
        ),
        groups=len(lengths),
        steps=len(run.update),
        group_error_s=error,
        group_s=mean(_durations(run.generate)),
    )


def _fit_engine(run: TimedRun) -> tuple[EngineSpeed, float, float]:
    """(speed, drag, mean absolute error [s]) of the best replay."""
    spans = _by_worker(run.generate)
    tokens = sum(map(sum, run.lengths.values()))
    busy = mean_busy(run.generate, workers=run.config.rollout.workers) * run.config.rollout.workers
    # To begin with a third of the engines' busy time each: for iterations at full load, for sequences, for prompts.
    third = busy / tokens / 3
    first = [third * run.config.rollout.max_seqs, third, busy / len(run.generate) / 3, 0.1]
    simplex = [[value * (1.6 if i == j else 1.0) for j, value in enumerate(first)] for i in range(-1, len(first))]

    def error(guess: Sequence[float]) -> float:
        speed, drag = _of_guess(guess)
        late = [replay_errors(run, own, speed=speed, drag=drag) for own in spans]
        return mean(tuple(abs(seconds) for errors in late for seconds in errors))

    options = {"maxfev": EVALUATIONS, "initial_simplex": simplex, "fatol": 1e-4, "xatol": 1e-9}
    found = minimize(error, first, method="Nelder-Mead", options=options)
    return *_of_guess(found.x), float(found.fun)


def _of_guess(guess: Sequence[float]) -> tuple[EngineSpeed, float]:
    """Any four numbers as a speed and a drag that can be."""
    iteration, sequence, prompt, drag = (abs(float(value)) for value in guess)
    return EngineSpeed(iteration + SHORTEST_S, sequence, prompt), min(drag, MOST_DRAG)


def replay_errors(run: TimedRun, spans: Sequence[Span], *, speed: EngineSpeed, drag: float) -> list[float]:
    """How much later [s] the engine model ends each of one worker's groups than the run did, in order of the model's
    ends. Groups whose lengths are not known count as those of middling length."""
    typical = sorted(run.lengths.values(), key=sum)[len(run.lengths) // 2]
    first = min(run.start_s, spans[0].start_s)
    paces = [(s.start_s, 1 / (1 + drag)) for s in run.update] + [(s.end_s, 1.0) for s in run.update]
    engine = EngineServer(speed, max_seqs=run.config.rollout.max_seqs)
    events: list[tuple[float, float, int]] = [(at, pace, -1) for at, pace in paces]
    events += [(span.start_s, 0.0, i) for i, span in enumerate(spans)]
    for at, pace, request in sorted(events):
        if request < 0:
            engine.set_pace(pace, at_s=at - first)
        else:
            group = int(spans[request].ids["group"])
            engine.arrive(request, run.lengths.get(group, typical), at_s=at - first)
    done = engine.advance(to_s=float("inf"))
    return [end + first - spans[request].end_s for request, end in done]


def _by_worker(spans: Sequence[Span]) -> list[list[Span]]:
    by_worker: dict[str, list[Span]] = {}
    for span in spans:
        by_worker.setdefault(str(span.ids["worker"]), []).append(span)
    return list(by_worker.values())


def _score_demands(spans: Sequence[Span]) -> Values:
    """What each group took of its worker, were the worker to score one after the other: from the end of the one before,
    or its own arrival where that was later, to its own end. Exact for such a worker; one that scores several at once
    has its rate met, at the load of the run."""
    demands: list[float] = []
    for own in _by_worker(spans):
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


def _busy_share(run: TimedRun, span: Span) -> float:
    """Mean over the engines of the share of the span in which one had work."""
    inside = [
        Span(s.name, max(s.start_s, span.start_s), min(s.end_s, span.end_s), s.ids)
        for s in run.generate
        if s.end_s > span.start_s and s.start_s < span.end_s
    ]
    length = span.end_s - span.start_s
    return mean_busy(inside, workers=run.config.rollout.workers) / length if length > 0 else 0.0


def _learner_drag(seconds: Sequence[float], busy: Sequence[float]) -> float:
    """k of seconds = u (1 + k busy), by least squares; 0 where the busy shares do not differ, or where k < 0."""
    n = len(seconds)
    mean_s, mean_busy_share = sum(seconds) / n, sum(busy) / n
    square = sum((b - mean_busy_share) ** 2 for b in busy)
    if (square / n) ** 0.5 < LEAST_SPREAD:
        return 0.0
    slope = sum((b - mean_busy_share) * (s - mean_s) for b, s in zip(busy, seconds, strict=True)) / square
    alone = mean_s - slope * mean_busy_share
    return min(MOST_DRAG, max(0.0, slope / alone)) if alone > 0 else 0.0


def _deliveries(run: TimedRun) -> tuple[Values, Values]:
    """(to idle engines, to busy ones) [s]; where the run has none of one kind, those of the other stand for it."""
    idle: list[float] = []
    busy: list[float] = []
    for span in run.deliver:
        working = any(s.start_s <= span.start_s < s.end_s for s in run.generate)
        (busy if working else idle).append(span.end_s - span.start_s)
    return tuple(idle or busy), tuple(busy or idle)


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
        return tuple(plain or with_checkpoint), (0.0,)
    usual = mean(tuple(plain))
    return tuple(plain), tuple(max(0.0, seconds - usual) for seconds in with_checkpoint)
