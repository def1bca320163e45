"""The engine model's numbers, from runs.

In: `TimedRun`s. Out: the speed and the drag under which the model, given the same requests at the same times, ends the
groups nearest to when the runs ended them: least mean absolute difference, with the prior on drag (drag.py). The three
times are found by Nelder-Mead, from a start for each number of prompts at once, and again once the drag has been found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scipy.optimize import OptimizeResult, minimize

from fundus_ray.obs.step_times import mean_busy
from fundus_ray.obs.trace import Span
from fundus_ray.plan.drag import doubtful, usual_drag
from fundus_ray.plan.engine import ALL_AT_ONCE, EngineServer, EngineSpeed
from fundus_ray.plan.service import mean
from fundus_ray.plan.timed_run import TimedRun

SHORTEST_S = 1e-9
PROMPTS_AT_ONCE = (1, 2, 4, 8, ALL_AT_ONCE)
FIRST_EVALUATIONS = 60  # of the replay, from each start
EVALUATIONS = 90  # more from the best, and again with its drag: about where three numbers settle
TOLERANCE = 1e-5  # of the error, as a share of a group's time


@dataclass(frozen=True, slots=True)
class EngineFit:
    """`error_s`: mean |end of a group, replayed - measured|, of groups that take `group_s` on average."""

    speed: EngineSpeed
    drag: float
    warm_up_s: float
    error_s: float
    group_s: float


def fit_engine(runs: Sequence[TimedRun], *, drags: Sequence[float]) -> EngineFit:
    """What replays the runs best, with one of these drags."""
    usual, steps = usual_drag(runs[0].config), sum(len(run.update) for run in runs)
    prompts, busy, beside = _work(runs)
    group_s = math.fsum(span.end_s - span.start_s for run in runs for span in run.generate) / prompts
    spans = [(run, own) for run in runs for own in by_worker(run.generate)]

    def speed(guess: Sequence[float], at_once: int, drag: float) -> EngineSpeed:
        """Any three numbers as what an engine takes alone; they are what it takes on average, dragged or not, so that
        another drag needs no other numbers."""
        iteration, sequence, prompt = (abs(float(value)) / (1 + drag * beside) for value in guess)
        return EngineSpeed(iteration + SHORTEST_S, sequence, prompt, at_once)

    def error(guess: Sequence[float], at_once: int, drag: float) -> float:
        tried = speed(guess, at_once, drag)
        return mean(tuple(abs(s) for run, own in spans for s in replay(run, own, speed=tried, drag=drag)))

    def search(start: Sequence[float], at_once: int, drag: float, *, evaluations: int) -> OptimizeResult:
        simplex = [[v * (1.6 if i == j else 1.0) for j, v in enumerate(start)] for i in range(-1, len(start))]
        options = {"maxfev": evaluations, "initial_simplex": simplex, "fatol": TOLERANCE * group_s, "xatol": 1e-9}
        return minimize(error, start, args=(at_once, drag), method="Nelder-Mead", options=options)

    # To begin with a third of the engines' busy time each: for iterations at full load, for sequences, for prompts.
    a_token = busy / sum(sum(map(sum, run.lengths.values())) for run in runs) / 3
    first = [a_token * runs[0].config.rollout.max_seqs, a_token, busy / prompts / 3]
    tried = [(search(first, n, usual, evaluations=FIRST_EVALUATIONS), n) for n in PROMPTS_AT_ONCE]
    best, at_once = min(tried, key=lambda found: float(found[0].fun))
    best = search(best.x, at_once, usual, evaluations=EVALUATIONS)
    drag = min(drags, key=lambda d: doubtful(error(best.x, at_once, d), of=group_s, drag=d, usual=usual, steps=steps))
    best = search(best.x, at_once, drag, evaluations=EVALUATIONS)
    found = speed(best.x, at_once, drag)
    warm_up_s, longer = _left_over([(run, own, replay(run, own, speed=found, drag=drag)) for run, own in spans])
    return EngineFit(found.times(longer), drag, warm_up_s, error_s=float(best.fun), group_s=group_s)


def _left_over(replayed: Sequence[tuple[TimedRun, Sequence[Span], Sequence[float]]]) -> tuple[float, float]:
    """(how much longer [s] the first groups of a run took, how many times as long all others together took) than in the
    replay. The least absolute error passes over the few groups that were held up; the time they took is no less real.
    """
    first: list[float] = []
    measured = modelled = 0.0
    for run, spans, late in replayed:
        for span, seconds in zip(spans, late, strict=True):
            if run.has_start and span.start_s < run.update[0].start_s:
                first.append(-seconds)
            else:
                measured += span.end_s - span.start_s
                modelled += span.end_s - span.start_s + seconds
    return max(0.0, median(first)) if first else 0.0, measured / modelled if modelled else 1.0


def _work(runs: Sequence[TimedRun]) -> tuple[int, float, float]:
    """(prompts, seconds in which engines had work, the share of these in which the learner updated)."""
    busy = beside = 0.0
    for run in runs:
        workers = run.config.rollout.workers
        busy += workers * mean_busy(run.generate, workers=workers)
        beside += workers * math.fsum(run.busy_share(span) * (span.end_s - span.start_s) for span in run.update)
    return sum(len(run.generate) for run in runs), busy, beside / busy


def replay(run: TimedRun, spans: Sequence[Span], *, speed: EngineSpeed, drag: float) -> list[float]:
    """How much later [s] the engine model ends each of one worker's groups than the run did. Groups whose lengths are
    not known count as those of middling length."""
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
    ends = dict(engine.advance(to_s=float("inf")))
    return [ends[i] + first - span.end_s for i, span in enumerate(spans)]


def by_worker(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans of each worker, in their order."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(str(span.ids["worker"]), []).append(span)
    return list(found.values())
