"""How two sets of held-out results on the same samples differ, over several seeds.

In: of each seed, what every sample counts in both. Out: the difference with its 95 % interval over samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.evaluate.metrics import EvalRow

DRAWS = 2000
Counts = NDArray[np.float64]  # [samples, 2]: what of each sample goes above and below the line of a metric


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm's metric less another's over all seeds' rows, its 95 % interval over samples, and each seed's own."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """The interval excludes 0 and every seed has its sign: the interval alone knows nothing of how runs differ."""
        sure = self.low > 0 or self.high < 0
        return sure and all(step * self.value > 0 for step in self.seeds)


def bootstrapped(by_seed: Sequence[tuple[Counts, Counts]]) -> Difference | None:
    """The first less the second, by a 95 % percentile bootstrap over the samples that both read; None where it is not
    defined for one. A seed in which it is not defined has no value of its own."""
    one, other = (np.concatenate(side) for side in zip(*by_seed, strict=True))
    if not one[:, 1].sum() or not other[:, 1].sum():
        return None
    rng, n = np.random.default_rng(0), len(one)
    draws = np.array([rng.multinomial(n, np.full(n, 1 / n)) for _ in range(DRAWS)])
    low, high = np.nanquantile(_ratio(draws @ one) - _ratio(draws @ other), [0.025, 0.975])
    seeds = [float(_ratio(x.sum(axis=0)) - _ratio(y.sum(axis=0))) for x, y in by_seed]
    return Difference(
        value=float(_ratio(one.sum(axis=0)) - _ratio(other.sum(axis=0))),
        low=float(low),
        high=float(high),
        seeds=tuple(step for step in seeds if not math.isnan(step)),
    )


def points(found: Difference | None) -> str:
    """In points, for a table: the difference [interval]; of each seed. Bold where it holds."""
    if found is None:
        return "-"
    seeds = " ".join(f"{100 * step:+.1f}" for step in found.seeds)
    cell = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{cell}**; {seeds}" if found.holds else f"{cell}; {seeds}"


def check_paired(rows: dict[str, list[list[EvalRow]]]) -> None:
    """Raises ValueError where two arms were not read on the same samples in the same order."""
    asked = {name: [[row.sample for row in seed] for seed in seeds] for name, seeds in rows.items()}
    first = next(iter(asked))
    for name, samples in asked.items():
        if samples != asked[first]:
            raise ValueError(f"{name!r} and {first!r} were not read on the same held-out samples")


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])
