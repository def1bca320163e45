"""Is the reward still worth learning from: what the scored groups of a step say of the reward itself.

In: scored groups. Out: reductions by name. All of it is over rollouts that have a score; pure functions. What the names
mean is said at the functions; `reward/alarms.py` watches them over a run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from fundus_ray.knowledge.records import Record
from fundus_ray.obs.metrics import Max, Mean, Metrics, Sum
from fundus_ray.types import RewardStatus, ScoredGroup, ScoredRollout, Verdict

OUTCOME = "accuracy"
NOT_PROCESS = (OUTCOME, "format")  # the other parts judge the chain
SAME_REWARD = 1e-9  # rewards closer than this are the same: a weighted mean of equal parts may round differently


def recited(
    stated: Sequence[str], records: Sequence[Record | None], *, annotated: Collection[str] | None
) -> tuple[str, ...] | None:
    """The stated findings that are right for the chain's own answer but not on the image.

    `records` are those of the chosen options; right are the findings that speak for one of them.
    None where it cannot be told: no answer, an answer without a record, an image without annotation. Our own measure.
    Example: an image with drusen, answer diabetic retinopathy, stated drusen, microaneurysm, enlarged_cup: only
    microaneurysm is recited (drusen are there, and an enlarged cup speaks for another disease).
    """
    known = [record for record in records if record is not None]
    if annotated is None or not known or len(known) < len(records):
        return None
    right = {finding for record in known for finding in record.in_favour}
    return tuple(finding for finding in stated if finding in right and finding not in annotated)


def health_metrics(taken: Sequence[ScoredGroup]) -> Metrics:
    """What the step's scores are worth.

    claims/supported, /contradicted, /not_found   shares of all checked claims
    claims/per_chain                mean number of checked claims
    health/recital_rate             recited findings / stated findings, of rollouts where that is known (`recited`)
    health/group_deviation          mean over groups of the standard deviation of the group's totals
    health/no_signal_share          groups whose rollouts all have the same total, so that they teach nothing
    health/deviation_PART           mean over groups of the standard deviation of a process part
    health/with_accuracy_PART       correlation of a process part with accuracy within groups (`within_groups`)
    """
    metrics = Metrics()
    groups = [scored for group in taken if (scored := _with_score(group))]
    for scored in groups:
        _add_claims(metrics, scored)
        _add_recital(metrics, scored)
        totals = [s.total for s in scored]
        metrics.add("health/group_deviation", Mean.of([deviation(totals)]))
        metrics.add("health/no_signal_share", Mean.of([float(max(totals) - min(totals) <= SAME_REWARD)]))
    for part in process_parts(groups):
        pairs = [found for scored in groups if (found := _with_outcome(scored, part))]
        metrics.add(f"health/deviation_{part}", Mean.of(deviation([value for value, _ in group]) for group in pairs))
        metrics.add(f"health/with_accuracy_{part}", Mean.of([within_groups(pairs)]))
    return metrics


def cost_metrics(taken: Sequence[ScoredGroup]) -> Metrics:
    """What the step's scoring took, and what outages did.

    search/hit_rate                 queries and claims answered by the workers' caches / all
    search/failures                 searches and checks that failed (those refused by an open breaker do not count)
    search/retries                  further tries of groups whose search or checker was down
    search/breaker_open_share       groups given back while the worker's breaker was not closed
    outage/held, outage/held_s      groups that were held, and the longest hold [s]
    outage/masked, outage/dropped   groups given up, by what became of them
    """
    metrics = Metrics()
    for group in taken:
        cost = group.cost
        metrics.add("search/hit_rate", Mean(total=cost.cache_hits, count=cost.cache_hits + cost.cache_misses))
        metrics.add("search/failures", Sum(cost.failures))
        metrics.add("search/retries", Sum(cost.tries - 1))
        metrics.add("search/breaker_open_share", Mean.of([float(cost.breaker != "closed")]))
        metrics.add("outage/held", Sum(float(cost.held_s > 0)))
        metrics.add("outage/held_s", Max(cost.held_s))
        metrics.add("outage/masked", Sum(float(cost.outage == "mask")))
        metrics.add("outage/dropped", Sum(float(cost.outage == "drop")))
    return metrics


def process_parts(groups: Iterable[Sequence[ScoredRollout]]) -> list[str]:
    """Names of the parts that judge the chain, in their order."""
    return list(dict.fromkeys(p for scored in groups for s in scored for p in s.parts if p not in NOT_PROCESS))


def within_groups(groups: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Pearson's correlation of the deviations from each group's own means; None where one side never deviates.

    Within groups, because a group's mean is all that a group-relative advantage leaves out: this is the agreement that
    the policy learns from. Example: groups [(0, 0), (1, 1)] and [(0.5, 1), (0.5, 1)]: only the first deviates: 1.
    """
    products = squares_x = squares_y = 0.0
    for group in groups:
        mean_x, mean_y = (math.fsum(side) / len(group) for side in zip(*group, strict=True))
        for x, y in group:
            products += (x - mean_x) * (y - mean_y)
            squares_x += (x - mean_x) ** 2
            squares_y += (y - mean_y) ** 2
    scale = math.sqrt(squares_x * squares_y)
    return products / scale if scale > SAME_REWARD else None


def deviation(values: Sequence[float]) -> float:
    """Standard deviation around the mean of the values themselves (divided by n)."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _with_score(group: ScoredGroup) -> list[ScoredRollout]:
    return [s for s in group.scored if s.status is not RewardStatus.UNSCORABLE]


def _with_outcome(scored: Sequence[ScoredRollout], part: str) -> list[tuple[float, float]]:
    """(part, accuracy) of the rollouts that have both."""
    both = [(s.parts.get(part), s.parts.get(OUTCOME)) for s in scored]
    return [(value, right) for value, right in both if value is not None and right is not None]


def _add_claims(metrics: Metrics, scored: Sequence[ScoredRollout]) -> None:
    verdicts = [claim.verdict for s in scored for claim in s.claims]
    for verdict in Verdict:
        metrics.add(f"claims/{verdict.value}", Mean.of(float(v is verdict) for v in verdicts))
    metrics.add("claims/per_chain", Mean.of(float(len(s.claims)) for s in scored))


def _add_recital(metrics: Metrics, scored: Sequence[ScoredRollout]) -> None:
    for s in scored:
        if s.recited is not None:
            metrics.add("health/recital_rate", Mean(total=len(s.recited), count=len(s.findings)))
