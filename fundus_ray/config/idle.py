"""Settings that do nothing under others: given on the command line, they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fundus_ray.config.schema import Config
from fundus_ray.config.sources import ON_DISK
from fundus_ray.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _Idle:
    """Settings that do nothing under others; `what` is a key, or a section whose every key but `but` is meant."""

    what: tuple[str, ...]
    under: str
    holds: Callable[[Config], bool]
    but: str = ""

    def covers(self, key: str) -> bool:
        return key != self.but and (key in self.what or key.split(".")[0] in self.what)


_IDLE = (
    _Idle(("sft",), "sft.steps=0, which trains nothing", lambda c: not c.sft.steps, but="sft.steps"),
    _Idle(
        ("learner.clip_low", "learner.clip_high"),
        "learner.algorithm=rloo, which clips nothing",
        lambda c: c.learner.algorithm == "rloo",
    ),
    _Idle(
        ("learner.clip_low", "learner.clip_high"),
        "learner.updates_per_batch=1, where every ratio is 1",
        lambda c: c.learner.updates_per_batch == 1,
    ),
    _Idle(
        ("learner.bf16",),
        "policy.dtype=bfloat16, whose products are in bfloat16 already",
        lambda c: c.policy.dtype == "bfloat16",
    ),
    _Idle(("learner.shard",), "learner.ranks=1, which has nobody to share with", lambda c: c.learner.ranks == 1),
    _Idle(("learner.kl_estimator",), "learner.kl=0", lambda c: not c.learner.kl),
    _Idle(
        ("learner.correction_low", "learner.correction_high"),
        "learner.correction=none",
        lambda c: c.learner.correction == "none",
    ),
    _Idle(
        ("learner.correction_low",),
        "learner.correction=tis or decoupled, which have an upper bound only",
        lambda c: c.learner.correction in ("tis", "decoupled"),
    ),
    _Idle(
        ("learner.allow_uncorrected",),
        "a learner.correction other than none",
        lambda c: c.learner.correction != "none",
    ),
    _Idle(
        ("learner.allow_uncorrected",),
        "loop.async_ratio=0, where no rollout is stale",
        lambda c: not c.loop.async_ratio,
    ),
    _Idle(
        ("data.train_samples", "data.eval_samples"),
        "data.source=jsonl or store, which take every row",
        lambda c: c.data.source in ON_DISK,
    ),
    _Idle(
        ("data.eval_fraction",),
        "rendered data; set data.eval_samples instead",
        lambda c: c.data.source not in ON_DISK,
    ),
    _Idle(
        ("data.eval_fraction",),
        "data.source=store, whose halves were fixed when it was written",
        lambda c: c.data.source == "store",
    ),
    _Idle(("data.image_root",), "data.source other than store", lambda c: c.data.source != "store"),
    _Idle(("data.benchmarks",), "rendered data, which is no benchmark's", lambda c: c.data.source not in ON_DISK),
    _Idle(("reward.gate_consistency",), "reward.consistency=0", lambda c: not c.reward.consistency),
    _Idle(("reward.custom",), "reward.plugin empty", lambda c: not c.reward.plugin),
    _Idle(("reward.plugin",), "reward.custom=0", lambda c: not c.reward.custom),
    _Idle(
        ("reward.checker_model", "reward.gpus"),
        "reward.checker=record, which runs no model",
        lambda c: c.reward.checker == "record",
    ),
    _Idle(
        tuple(
            f"knowledge.{key}"
            for key in ("url", "index", "api_key_env", "api_key_file", "ca_certs", "timeout_s", "retries")
        ),
        "knowledge.store=embedded instead of elasticsearch",
        lambda c: c.knowledge.store == "embedded",
    ),
    _Idle(("knowledge.share_seed",), "knowledge.share=1, which draws nothing", lambda c: c.knowledge.share == 1),
    _Idle(
        ("traces.passages", "traces.max_findings", "traces.max_tokens"),
        "traces.reader empty, so that no trace is written",
        lambda c: not c.traces.reader,
    ),
    _Idle(
        ("sft.vision_warmup_steps",),
        "policy.path=reader and a given traces.reader, whose vision tower has learned elsewhere",
        lambda c: c.policy.path == "reader" and c.traces.reader not in ("", "tiny"),
    ),
    _Idle(
        ("traces.reader_samples", "traces.reader_steps"),
        "traces.reader other than tiny",
        lambda c: c.traces.reader != "tiny",
    ),
    _Idle(
        ("sft.drop_finding", "sft.label_blind"),
        "sft.traces or traces.reader, whose traces are not simulated",
        lambda c: bool(c.sft.traces or c.traces.reader),
    ),
    _Idle(
        ("sft.drop_finding", "sft.label_blind"),
        "sft.target=answers, which writes no chain",
        lambda c: c.sft.target == "answers",
    ),
    _Idle(
        ("loop.window",),
        "loop.async_ratio=0, where a group can pass only groups of its own batch",
        lambda c: not c.loop.async_ratio,
    ),
    _Idle(
        ("evaluate.before", "evaluate.checkpoints"),
        "evaluate.samples=0, which evaluates nothing",
        lambda c: not c.evaluate.samples,
    ),
    _Idle(
        ("evaluate.checkpoints",),
        "loop.checkpoint_every=0, which writes none before the end",
        lambda c: not c.loop.checkpoint_every,
    ),
    _Idle(
        ("ray.autoscale",),
        "ray.address=local, a cluster of this machine alone",
        lambda c: c.ray.address == "local",
    ),
    _Idle(
        ("rollout.gpu_memory_utilization",),
        "rollout.gpus=0",
        lambda c: not c.rollout.gpus and not (c.reward.checker == "judge" and c.reward.gpus),
    ),
)


def check_effect(config: Config, keys: Iterable[str]) -> None:
    """Whether each of `keys`, given on the command line, does anything in this configuration. Raises ConfigError."""
    for key in keys:
        for idle in _IDLE:
            if idle.covers(key) and idle.holds(config):
                raise ConfigError(f"{key} has no effect with {idle.under}; leave it out")
