"""The table of algorithms: each is an advantage, a surrogate, an aggregation and the range of its clip.

In: `learner.algorithm`. Out: the functions. A new algorithm is one more row, and its name in config/update.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from fundus_ray.learner.advantage import Advantage, batch_normalised, group_centred, group_normalised, leave_one_out
from fundus_ray.learner.aggregation import Aggregation, constant_mean, sequence_mean, sequence_sum, token_mean
from fundus_ray.learner.surrogate import Clip, Surrogate, sequence_clip, token_clip, unclipped, weight_clip


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`clip`: the range of its paper, or our own where said so, used where the configuration gives none."""

    advantage: Advantage
    surrogate: Surrogate
    aggregation: Aggregation
    clip: Clip


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm(group_normalised, token_clip, sequence_mean, Clip(0.2, 0.2)),
    "dr_grpo": Algorithm(group_centred, token_clip, constant_mean, Clip(0.2, 0.2)),
    "rloo": Algorithm(leave_one_out, unclipped, sequence_sum, Clip(0.0, 0.0)),
    # The mean over tokens is that of OpenRLHF, its authors' own program.
    "reinforce_pp": Algorithm(batch_normalised, token_clip, token_mean, Clip(0.2, 0.2)),
    "dapo": Algorithm(group_normalised, token_clip, token_mean, Clip(0.2, 0.28)),
    "gspo": Algorithm(group_normalised, sequence_clip, sequence_mean, Clip(3e-4, 4e-4)),
    # After MiniMax-M1 there is no lower bound; that a weight is cut above 5 is our own choice.
    "cispo": Algorithm(group_normalised, weight_clip, token_mean, Clip(1.0, 4.0)),
}
