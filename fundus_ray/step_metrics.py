"""What one step of the loop logs, as one flat dict of floats.

In: the groups that the step took, its batch, the learner's result, the delivery proofs, spans of the step's window.
Out: metric names -> values. Seconds, tokens, nats; shares are in [0, 1]. Pure functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fundus_ray.learner.batch import completion_tokens
from fundus_ray.obs.metrics import Histogram, Max, Mean, Metrics, Sum
from fundus_ray.obs.trace import Span
from fundus_ray.reward.health import cost_metrics, health_metrics
from fundus_ray.types import DeliveryProof, RewardStatus, ScoredGroup, ScoredRollout, TrainBatch


def step_metrics(
    taken: Sequence[ScoredGroup],
    *,
    batch: TrainBatch,
    learner: Mapping[str, float],
    proofs: Sequence[DeliveryProof],
    times: Mapping[str, float],
) -> dict[str, float]:
    """All metrics of one step: rewards, their health and cost (reward/health.py), lag, drops, delivery, the learner's
    own, and times (obs/step_times.py).

    `taken` holds the dropped groups too; `times` must hold "time/step". Where the learner reports a name that is made
    here, this one wins. `tokens_per_s` is trained completion tokens over the step's wall time.
    """
    metrics = reward_metrics(taken)
    metrics.merge(health_metrics(taken))
    metrics.merge(cost_metrics(taken))
    metrics.merge(lag_metrics(batch))
    metrics.merge(delivery_metrics(proofs))
    for reason, count in dropped(taken).items():
        metrics.add(f"dropped/{reason}", Sum(count))
    rate = completion_tokens(batch) / times["time/step"] if times["time/step"] > 0 else float("nan")
    return {**learner, **metrics.flat(), **times, "tokens_per_s": rate}


def reward_metrics(taken: Sequence[ScoredGroup]) -> Metrics:
    """Means over every rollout that has a score, in trained and in dropped groups: drops must not flatter the reward.

    reward/<part> leaves out rollouts to which the part does not apply. completion/tokens_mean is over the same
    rollouts.
    """
    metrics = Metrics()
    for group in taken:
        scored = [s for s in group.scored if s.status is not RewardStatus.UNSCORABLE]
        if not scored:
            continue
        metrics.add("reward/total", Mean.of(s.total for s in scored))
        metrics.add("reward/finding_count", Mean.of(float(len(s.findings)) for s in scored))
        metrics.add("completion/tokens_mean", Mean.of(float(len(s.rollout.token_ids)) for s in scored))
        metrics.add("completion/cut_share", Mean.of(float(s.rollout.finish_reason == "length") for s in scored))
        _add_parts(metrics, scored)
    return metrics


def lag_metrics(batch: TrainBatch) -> Metrics:
    """Lag of the trained rollouts in versions: mean, maximum, count by lag; off_policy_share: those with lag > 0."""
    lags = [int(lag) for lag in batch.policy_step - batch.policy_steps]
    metrics = Metrics()
    metrics.add("lag/mean", Mean.of(float(lag) for lag in lags))
    metrics.add("lag/max", Max(max(lags)))
    metrics.add("lag/hist", Histogram.of(lags))
    metrics.add("off_policy_share", Mean.of(float(lag > 0) for lag in lags))
    return metrics


def delivery_metrics(proofs: Sequence[DeliveryProof]) -> Metrics:
    """The worst engine's probe error [nats] and seconds, and how many engines proved that they hold the version."""
    metrics = Metrics()
    for proof in proofs:
        metrics.add("delivery/probe_error", Max(proof.probe_error))
        if proof.probe_shift is not None:
            metrics.add("delivery/probe_shift", Max(proof.probe_shift))
        metrics.add("delivery/seconds", Max(proof.seconds))
        metrics.add("delivery/proven", Sum(1))
    return metrics


def fault_metrics(spans: Sequence[Span]) -> dict[str, float]:
    """Of the spans that began in a step: restarts of workers, how many of them hung, and the groups that were under way
    on dead ones and are done again."""
    restarts = Counter(span.ids.get("role") for span in spans if span.name == "restart")
    faults = [span.ids for span in spans if span.name == "fault"]
    return {
        "engine_restarts": float(restarts["engine"]),
        "faults/reward_restarts": float(restarts["reward"]),
        "faults/hung": float(sum(ids["kind"] == "hung" for ids in faults)),
        "faults/requeued": float(sum(int(ids["requeued"]) for ids in faults)),
    }


def dropped(taken: Sequence[ScoredGroup]) -> Counter[str]:
    """Groups that were not trained on, by reason."""
    return Counter(group.drop_reason for group in taken if not group.trainable)


def _add_parts(metrics: Metrics, scored: Sequence[ScoredRollout]) -> None:
    for name in scored[0].parts:
        metrics.add(f"reward/{name}", Mean.of(s.parts[name] for s in scored))
