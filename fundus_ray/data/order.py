"""The endless order of training samples.

In: the samples, a seed and a position. Out: the sample at that position. Positions are independent of one another, so a
resumed run goes on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.balanced import BalancedOrder
from fundus_ray.errors import DataError
from fundus_ray.types import Sample


def samples_in_order(samples: Sequence[Sample], *, order: str, seed: int) -> Callable[[int], Sample]:
    """The sample at any position >= 0, in the order that `data.order` names. Raises DataError where there are none."""
    if not samples:
        raise DataError("there are no training samples to draw from")
    if order == "balanced":
        balanced = BalancedOrder(samples, seed=seed)
        return lambda position: samples[balanced.row_at(position)]
    return lambda position: sample_at(samples, seed=seed, group_id=position)


def sample_at(samples: Sequence[Sample], *, seed: int, group_id: int) -> Sample:
    """The sample at `group_id` >= 0: every epoch holds each sample once, in an order of its own.

    Raises DataError where there are no samples.
    """
    if not samples:
        raise DataError("there are no training samples to draw from")
    epoch, position = divmod(group_id, len(samples))
    return samples[int(_shuffled(len(samples), seed, epoch)[position])]


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
