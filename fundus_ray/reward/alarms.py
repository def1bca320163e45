"""Does a run's reward collapse: its metrics step by step in, alarms out, each with its numbers and what to do.

The thresholds are our own. What is not paid for (weight 0) raises no alarm. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

WINDOW = 5  # steps whose mean is judged, and as many at the start that it is compared with
NOT_FOUND, NO_SIGNAL = 0.95, 0.80  # shares above these
SHORTER = 0.5  # of the tokens at the start
SUDDEN = 2  # steps whose mean is judged where every further step makes it worse
LOST = 0.5  # of the well-formed chains, or of the reward, at the start
RECITAL_RISE, ACCURACY_RISE = 0.10, 0.01
SAME, SATURATED = 1e-3, 0.95  # a part that deviates less than this within groups, unless it is always high
OPPOSED = -0.2  # correlation within groups

Metrics = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Alarm:
    """`kind` is what it is about, the same for every alarm of that kind; `text` is one line."""

    kind: str
    text: str


def alarms(history: Sequence[Metrics], *, paid: Collection[str]) -> list[Alarm]:
    """What is wrong at the last step of `history` (metrics of every step so far). `paid`: the parts with a weight."""
    if not history:
        return []
    found = [*_outage(history[-1])]
    if len(history) >= WINDOW:
        now = history[-WINDOW:]
        found += [
            *_fall(history),
            *_no_signal(now),
            *_claims(now, paid),
            *(a for part in sorted(paid) for a in _part(now, part)),
        ]
    if len(history) >= 2 * WINDOW:
        found += [*_length(history), *_recital(history, paid)]
    return found


def _outage(last: Metrics) -> Iterator[Alarm]:
    masked, dropped = last.get("outage/masked") or 0, last.get("outage/dropped") or 0
    if masked or dropped:
        yield Alarm(
            "outage",
            f"search or checker was down: {dropped:g} groups of this step dropped, {masked:g} scored without it, none "
            "scored zero; start it again (the reward actors take it up by themselves)",
        )


def _fall(history: Sequence[Metrics]) -> Iterator[Alarm]:
    """The policy breaks within a few updates: no window of steps is waited for."""
    start, now = history[:WINDOW], history[-SUDDEN:]
    remedy = "start anew with a lower learner.learning_rate or learner.grad_clip"
    first, last = _mean(start, "reward/format"), _mean(now, "reward/format")
    if last < LOST * first:
        yield Alarm(
            "malformed chains",
            f"chains of the asked form fell from {first:.0%} to {last:.0%} (means of the first {WINDOW} and last "
            f"{SUDDEN} steps), so answers can no longer be read; {remedy}, and raise reward.format",
        )
    first, last = _mean(start, "reward/total"), _mean(now, "reward/total")
    if last < LOST * first:
        yield Alarm(
            "reward lost",
            f"the mean reward fell from {first:.2f} to {last:.2f} (means of the first {WINDOW} and last {SUDDEN} "
            f"steps): the policy unlearns; {remedy}",
        )


def _no_signal(now: Sequence[Metrics]) -> Iterator[Alarm]:
    share = _mean(now, "health/no_signal_share")
    if share > NO_SIGNAL:
        yield Alarm(
            "no signal",
            f"{share:.0%} of the groups of the last {WINDOW} steps have rollouts that all score the same, so they "
            "teach nothing; give more parts a weight, raise rollout.temperature or rollout.group_size, or take harder "
            "or easier questions",
        )


def _claims(now: Sequence[Metrics], paid: Collection[str]) -> Iterator[Alarm]:
    share = _mean(now, "claims/not_found")
    if "knowledge" in paid and share > NOT_FOUND:
        yield Alarm(
            "not found",
            f"{share:.0%} of the stated relations of the last {WINDOW} steps are neither supported nor contradicted, "
            "so the part `knowledge` gives no gradient; add passages (knowledge.passages_dir), raise knowledge.top_k, "
            "or take another reward.checker",
        )


def _part(now: Sequence[Metrics], part: str) -> Iterator[Alarm]:
    deviation, value = _mean(now, f"health/deviation_{part}"), _mean(now, f"reward/{part}")
    if deviation < SAME and value < SATURATED:
        yield Alarm(
            f"constant {part}",
            f"the part `{part}` is {value:.2f} for all rollouts of a group in the last {WINDOW} steps (deviation "
            f"{deviation:.1g}), so it teaches nothing; see why by `fundus-ray reward explain`, or set its weight to 0",
        )
    agreement = _mean(now, f"health/with_accuracy_{part}")
    if agreement < OPPOSED:
        yield Alarm(
            f"opposed {part}",
            f"the part `{part}` pays for wrong answers: its correlation with accuracy within groups is {agreement:.2f} "
            f"over the last {WINDOW} steps; lower reward.{part}, or look at the records of the labels in question",
        )


def _length(history: Sequence[Metrics]) -> Iterator[Alarm]:
    first, last = (_mean(part, "completion/tokens_mean") for part in (history[:WINDOW], history[-WINDOW:]))
    if last < SHORTER * first:
        yield Alarm(
            "short chains",
            f"chains fell from {first:.0f} to {last:.0f} tokens (means of the first and last {WINDOW} steps); raise "
            "reward.format and reward.consistency, or lower learner.learning_rate",
        )


def _recital(history: Sequence[Metrics], paid: Collection[str]) -> Iterator[Alarm]:
    recital = [_mean(part, "health/recital_rate") for part in (history[:WINDOW], history[-WINDOW:])]
    accuracy = [_mean(part, "reward/accuracy") for part in (history[:WINDOW], history[-WINDOW:])]
    rises = recital[1] - recital[0] > RECITAL_RISE and not accuracy[1] - accuracy[0] > ACCURACY_RISE
    if "consistency" in paid and rises:
        yield Alarm(
            "recital",
            f"chains recite the textbook: findings that fit the answer but are not on the image rose from "
            f"{recital[0]:.0%} to {recital[1]:.0%} of those stated, accuracy went from {accuracy[0]:.0%} to "
            f"{accuracy[1]:.0%}; raise reward.grounding, lower reward.consistency, or set reward.gate_consistency=true",
        )


def _mean(steps: Sequence[Metrics], name: str) -> float:
    """Over the steps that have it; NaN, which no comparison is true of, where fewer than half have."""
    values = [v for step in steps if (v := step.get(name)) is not None and math.isfinite(v)]
    return math.fsum(values) / len(values) if 2 * len(values) >= len(steps) else math.nan
