"""Settings that a run may go on with changed: all others decide what is learned, and must be as they were.

In: settings of a run then and now. Out: those that differ and must not. What a path names is not compared here but by
its content (resume.py), so that files may be moved; of the paths only reward.checker_model, whose files are not hashed,
must be as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fundus_ray.config.schema import Config, documented_fields

MAY_CHANGE = (
    # where a run writes, and what it keeps
    "run.dir",
    "run.name",
    "run.record",
    "run.image_paths",
    "run.keep_checkpoints",
    "run.checkpoints",
    # where content lies that is compared by its hash
    "data.path",
    "data.image_root",
    "data.benchmarks",
    "data.max_quarantined",
    "knowledge.passages_dir",
    "knowledge.records_dir",
    "knowledge.embeddings",
    "policy.path",
    "traces.reader",
    "sft.traces",
    # how a server is reached
    "knowledge.url",
    "knowledge.index",
    "knowledge.api_key_env",
    "knowledge.api_key_file",
    "knowledge.ca_certs",
    "knowledge.timeout_s",
    "knowledge.retries",
    # how many processes do the work, on what, and how they are looked after
    "policy.probe_tolerance",
    "rollout.workers",
    "rollout.min_workers",
    "rollout.tensor_parallel",
    "rollout.cpus",
    "rollout.gpus",
    "rollout.threads",
    "rollout.cores",
    "rollout.max_seqs",
    "rollout.max_loras",
    "rollout.max_model_len",
    "rollout.gpu_memory_utilization",
    "rollout.restarts",
    "rollout.hang_s",
    "reward.workers",
    "reward.min_workers",
    "reward.restarts",
    "reward.cpus",
    "reward.gpus",
    "reward.timeout_s",
    "reward.at_once",
    "reward.hold_s",
    "reward.outage",  # what becomes of groups while search or checker is down
    "learner.ranks",
    "learner.shard",
    "learner.cpus",
    "learner.gpus",
    "learner.threads",
    "learner.cores",
    "learner.micro_batch_tokens",
    "learner.checkpointing",
    "learner.image_cache_mb",
    "learner.restarts",
    # how long a run goes on, and with what steps
    "learner.learning_rate",
    "loop.steps",
    "loop.checkpoint_every",
    "loop.stall_s",
    # whole sections
    "evaluate",
    "ray",
)


def settings_of(config: Config) -> dict[str, Any]:
    """Dotted key -> value."""
    return {key: value for key, _, value in documented_fields(config)}


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (before, now) of settings that differ and must not. One that was not known then had its default; one that
    is not known any more has no value now."""
    defaults = settings_of(Config())
    keys = [*now, *(key for key in before if key not in now)]
    pairs = {key: (before.get(key, defaults.get(key)), now.get(key)) for key in keys if not _may_change(key)}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _may_change(key: str) -> bool:
    return key in MAY_CHANGE or key.split(".")[0] in MAY_CHANGE
