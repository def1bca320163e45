"""Where the time of one learner step went: idle shares of both sides, work of each stage, the asynchronous ceiling.

In: spans (obs/trace.py) and the step's window [start_s, end_s]. Out: seconds and shares. Pure functions.

Generation and scoring run many groups at once on one worker, so their work is the length of the *union* of a worker's
spans, never their sum: two groups decoded together for 3 s are 3 s of engine time. Over W workers it is the mean: the
stage's wall time if its work were spread evenly. A span without the id `worker` counts for every worker. Workers join
and leave: W is their number over the window's time, by the spans "here"; idle is of the time in which they were here.

Rollout workers may run ahead for the next step, so one window's work need not be that of one step; over a run the two
agree.

In a synchronous run scoring overlaps generation too, so the ceiling there is against a fully serial loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fundus_ray.obs.trace import Span

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds and shares of one window.

    learner_idle: share of the window in which the learner side waited for a group.
    generator_idle: share of the rollout workers' time in which a worker had no request open.
    rollout_here, reward_here: workers, over the window's time.
    generate_s (Tg), score_s (Tr): what the rollout and the reward workers worked in the window.
    update_s (Tt), publish_s + deliver_s (Ts): length of the union of these spans.
    ceiling: largest speed-up over the same work done one stage after the other; NaN where nothing was timed.
    """

    window_s: float
    wait_group_s: float
    generate_s: float
    score_s: float
    update_s: float
    publish_s: float
    deliver_s: float
    learner_idle: float
    generator_idle: float
    rollout_here: float
    reward_here: float
    ceiling: float

    def metrics(self) -> dict[str, float]:
        """The names under which a step logs these."""
        return {
            "idle/learner": self.learner_idle,
            "idle/generator": self.generator_idle,
            "workers/rollout": self.rollout_here,
            "workers/reward": self.reward_here,
            "time/step": self.window_s,
            "time/generate": self.generate_s,
            "time/score": self.score_s,
            "time/update": self.update_s,
            "time/publish": self.publish_s,
            "time/deliver": self.deliver_s,
            "time/wait_group": self.wait_group_s,
            "async/ceiling": self.ceiling,
        }


def step_times(
    spans: Sequence[Span],
    *,
    start_s: float,
    end_s: float,
    rollout_workers: int = 1,
    reward_workers: int = 1,
) -> StepTimes:
    """Times of one learner step, from spans that overlap its window; see the module's text for what is measured.
    rollout_workers, reward_workers: how many there are where no span says who was here.

    Raises ValueError where the window is empty or a number of workers is below one.
    """
    if end_s <= start_s:
        raise ValueError(f"the window [{start_s}, {end_s}] is empty")
    if rollout_workers < 1 or reward_workers < 1:
        raise ValueError(f"rollout_workers={rollout_workers} and reward_workers={reward_workers} must be >= 1")
    window = end_s - start_s
    cut = _cut_by_name(spans, start_s=start_s, end_s=end_s)
    unions = {name: union_length((s.start_s, s.end_s) for s in found) for name, found in cut.items()}
    wait, update, publish, deliver = (unions.get(name, 0.0) for name in ("wait_group", "update", "publish", "deliver"))
    here = cut.get("here", ())
    engines = _here(here, role="engine", window_s=window, otherwise=rollout_workers)
    scorers = _here(here, role="reward", window_s=window, otherwise=reward_workers)
    generate = mean_busy(cut.get("generate", ()), workers=engines.mean, most=engines.most)
    score = mean_busy(cut.get("score", ()), workers=scorers.mean, most=scorers.most)
    return StepTimes(
        window_s=window,
        wait_group_s=wait,
        generate_s=generate,
        score_s=score,
        update_s=update,
        publish_s=publish,
        deliver_s=deliver,
        learner_idle=wait / window,
        generator_idle=max(0.0, 1.0 - generate / window),
        rollout_here=engines.mean,
        reward_here=scorers.mean,
        ceiling=async_ceiling(generate_s=generate, score_s=score, update_s=update, sync_s=publish + deliver),
    )


def async_ceiling(*, generate_s: float, score_s: float, update_s: float, sync_s: float) -> float:
    """(Tg + Tr + Tt + Ts) / max(Tg, Tr, Tt + Ts), the project's design: NaN where all are zero.

    Generation, reward and learner (update, then sync) are the three stages that can overlap; the slowest one bounds the
    pipeline.
    """
    slowest = max(generate_s, score_s, update_s + sync_s)
    return (generate_s + score_s + update_s + sync_s) / slowest if slowest > 0 else float("nan")


def mean_busy(spans: Iterable[Span], *, workers: float, most: float | None = None) -> float:
    """Mean over workers of the union length [s] of a worker's spans; workers without any span count as zero. `workers`:
    how many, on average; `most`: how many there can have been at all, None = as many. Raises ValueError where the spans
    name more."""
    shared: list[Interval] = []
    own: dict[str, list[Interval]] = {}
    for span in spans:
        place = own.setdefault(str(span.ids["worker"]), []) if "worker" in span.ids else shared
        place.append((span.start_s, span.end_s))
    most = math.ceil(workers) if most is None else most
    if len(own) > most:
        raise ValueError(f"spans name {len(own)} workers ({', '.join(sorted(own))}), more than the {most:g} there are")
    if not workers:  # a span of no length, by one that left in the same moment
        return 0.0
    unseen = max(0.0, workers - len(own))
    busy = sum(union_length([*intervals, *shared]) for intervals in own.values())
    return (busy + unseen * union_length(shared)) / workers


@dataclass(frozen=True, slots=True)
class _Here:
    mean: float  # workers, over the window's time
    most: float  # different ones; inf = not known


def _here(spans: Iterable[Span], *, role: str, window_s: float, otherwise: int) -> _Here:
    found = [span for span in spans if span.ids.get("role") == role]
    if not found:
        return _Here(mean=otherwise, most=otherwise)
    seconds = sum(span.end_s - span.start_s for span in found)
    # Any number, as a call ends just after its worker was found dead: the end of a window may lie between the two.
    return _Here(mean=seconds / window_s, most=math.inf)


def union_length(intervals: Iterable[Interval]) -> float:
    """Length covered by at least one interval."""
    total = 0.0
    reach = float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def _cut_by_name(spans: Iterable[Span], *, start_s: float, end_s: float) -> dict[str, list[Span]]:
    """Spans that overlap the window, cut to it, by name."""
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        if span.end_s > start_s and span.start_s < end_s:
            cut = Span(span.name, max(span.start_s, start_s), min(span.end_s, end_s), span.ids)
            by_name.setdefault(span.name, []).append(cut)
    return by_name
