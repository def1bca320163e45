"""How much engines and learner slow each other: what is believed before a run has been looked at.

Drag d: a part takes 1 + d times as long while the other works. It shows only where some updates run beside working
engines and others do not: a run at ratio 0 has none of the first kind, one at ratio 1 hardly any of the second. A
drag is estimated as the mode of its posterior, own choice: errors Laplace-distributed with a scale of their own and
independent from step to step, the prior a Cauchy distribution around the usual drag, whose wide tails let a run that
speaks clearly have its way. That is the least of

    mean absolute error x (1 + ((drag - usual) / SPREAD)^2) ^ (1 / steps)

Runs at two ratios, fitted together, say something. Where busy shares hardly differ the usual drag is taken as it is: in
one run the longer update has the smaller busy share, because the engines are done sooner than it is, and would seem to
be hindered by their rest.
"""

from __future__ import annotations

from fundus_ray.config import Config

# Where both compute on the CPUs of one machine: they share its memory's bandwidth, and the driver, the engines' front
# ends and the reward workers have no core of their own. On two cores, one for each half, an update was measured to take
# 3 to 15 % longer at ratio 1 than at ratio 0. On GPUs of their own they share next to nothing.
USUAL_DRAG = 0.1
SPREAD = 0.05
# Those that are tried.
DRAGS = (*(hundredths / 100 for hundredths in range(0, 50, 2)), 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)
LEAST_ERROR = 1e-3  # share of a time that no model can be trusted to: else a perfect fit would believe any drag


def usual_drag(config: Config) -> float:
    """The prior's mean for such a system."""
    return 0.0 if config.rollout.gpus or config.learner.gpus else USUAL_DRAG


def doubtful(error: float, *, of: float, drag: float, usual: float, steps: int) -> float:
    """The term above, for a mean absolute error in times that are `of` on average, both in the same unit."""
    doubt = (1 + ((drag - usual) / SPREAD) ** 2) ** (1 / steps)
    return float((error + LEAST_ERROR * of) * doubt)
