"""What each part of the loop takes: all that the simulator knows of a system.

In: distributions that a user states, or those that fit.py finds in a run. Out: `Service`. Every distribution is a tuple
of values that are equally likely, in seconds or tokens.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from statistics import NormalDist

from fundus_ray.errors import ConfigError
from fundus_ray.plan.engine import ALL_AT_ONCE, EngineSpeed

Values = tuple[float, ...]
QUANTILES = 64  # values that stand for a stated distribution
MADE_GROUPS = 256  # groups of lengths that stand for a stated distribution of lengths


@dataclass(frozen=True, slots=True)
class Service:
    """Service times. `engine_drag` d: engines take 1 + d times as long while the learner updates; `learner_drag`: the
    same for an update while all engines have work. Both are 0 where the two share nothing."""

    lengths: tuple[tuple[int, ...], ...]  # [group][rollout] response tokens
    engine: EngineSpeed
    score_s: Values  # of a reward worker's time for one group; it takes one after the other
    score_least_s: float  # from a group's arrival at a reward worker to its score
    update_s: Values  # for each trained group of a batch
    publish_s: Values
    deliver_idle_s: Values  # to all engines, none of which has work
    deliver_busy_s: Values  # to all, one at least with work: it takes a version between two iterations
    overhead_s: Values  # the driver's own work a step, in which it answers nobody
    checkpoint_s: Values = (0.0,)  # of each, every loop.checkpoint_every steps, in which the driver does answer
    drop_share: float = 0.0  # of groups, dropped after scoring
    engine_drag: float = 0.0
    learner_drag: float = 0.0
    first_update_s: float = 0.0  # that the first update of a run takes longer than others
    engine_warm_up_s: float = 0.0  # that the first groups of a run take longer

    @property
    def tokens_a_group(self) -> float:
        """Mean response tokens of a group."""
        return mean(tuple(float(sum(group)) for group in self.lengths))

    def with_lengths(self, lengths: tuple[tuple[int, ...], ...]) -> Service:
        """The same parts for other responses; an update and a score are taken to grow as the tokens of a group do."""
        other = replace(self, lengths=lengths)
        grown = other.tokens_a_group / self.tokens_a_group
        return replace(
            other,
            update_s=tuple(value * grown for value in self.update_s),
            score_s=tuple(value * grown for value in self.score_s),
        )

    def summary(self) -> dict[str, float]:
        """Means, for a reader."""
        at_once = self.engine.prompts_at_once
        limit = {} if at_once == ALL_AT_ONCE else {"engine_prompts_at_once": float(at_once)}
        return {
            "tokens_a_rollout": self.tokens_a_group / mean(tuple(float(len(group)) for group in self.lengths)),
            "longest_tokens": float(max(max(group) for group in self.lengths)),
            "engine_iteration_s": self.engine.iteration_s,
            "engine_sequence_s": self.engine.sequence_s,
            "engine_prompt_s": self.engine.prompt_s,
            **limit,
            "score_s_a_group": mean(self.score_s),
            "update_s_a_group": mean(self.update_s),
            "first_update_s": self.first_update_s,
            "engine_warm_up_s": self.engine_warm_up_s,
            "publish_s": mean(self.publish_s),
            "deliver_idle_s": mean(self.deliver_idle_s),
            "deliver_busy_s": mean(self.deliver_busy_s),
            "overhead_s": mean(self.overhead_s),
            "checkpoint_s": mean(self.checkpoint_s),
            "drop_share": self.drop_share,
            "engine_drag": self.engine_drag,
            "learner_drag": self.learner_drag,
        }


def mean(values: Values) -> float:
    """Mean; there must be at least one value."""
    return math.fsum(values) / len(values)


def spread(text: str, *, option: str) -> Values:
    """`M`: that value; `M:S`: a log-normal of mean M and standard deviation S. Raises ConfigError naming the option."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(n) and n >= 0 for n in numbers):
        raise ConfigError(f"{option} {text} must be M or M:S, mean and standard deviation, both numbers >= 0")
    average, deviation = numbers[0], numbers[1] if len(numbers) == 2 else 0.0
    if deviation == 0.0:
        return (average,)
    if average == 0.0:
        raise ConfigError(f"{option} {text}: a mean of 0 has no spread; give 0, or a larger mean")
    # Of a log-normal: mean exp(mu + s^2/2), variance (exp(s^2) - 1) mean^2.
    s2 = math.log1p((deviation / average) ** 2)
    normal = NormalDist(math.log(average) - s2 / 2, math.sqrt(s2))
    values = [math.exp(normal.inv_cdf((i + 0.5) / QUANTILES)) for i in range(QUANTILES)]
    stretch = average / mean(tuple(values))  # the far tail is not among the quantiles
    return tuple(value * stretch for value in values)


def made_lengths(tokens: Values, *, group_size: int, max_tokens: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Groups of independent lengths in 1..max_tokens."""
    chance = random.Random(seed)

    def length() -> int:
        return min(max_tokens, max(1, round(chance.choice(tokens))))

    return tuple(tuple(length() for _ in range(group_size)) for _ in range(MADE_GROUPS))


def engine_speed(text: str, *, max_seqs: int, prompt_s: float) -> EngineSpeed:
    """From `ALONE,FULL`: tokens a second with one sequence and with max_seqs. Raises ConfigError."""
    try:
        alone, full = (float(part) for part in text.split(","))
    except ValueError:
        alone = full = math.nan
    if not (alone > 0 and full > 0 and math.isfinite(alone + full)):
        raise ConfigError(
            f"--tokens-per-s {text} must be ALONE,FULL: tokens a second of an engine with one sequence, and with "
            f"rollout.max_seqs={max_seqs}; both > 0"
        )
    if not alone <= full <= max_seqs * alone:
        raise ConfigError(
            f"--tokens-per-s {text}: with rollout.max_seqs={max_seqs} sequences an engine gives at least as much as "
            f"with one and at most {max_seqs} times that: {alone:g} to {max_seqs * alone:g} tokens a second"
        )
    if max_seqs == 1:
        return EngineSpeed(iteration_s=1 / alone, sequence_s=0.0, prompt_s=prompt_s)
    # 1/alone = iteration + sequence; max_seqs/full = iteration + max_seqs * sequence.
    sequence = (max_seqs / full - 1 / alone) / (max_seqs - 1)
    return EngineSpeed(iteration_s=1 / alone - sequence, sequence_s=sequence, prompt_s=prompt_s)
