"""A recorded run, and whether it can be replayed under these settings.

In: a run folder, the configuration of the replay. Out: `Recording`, and the configuration as a replay needs it; or one
line that says what does not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_ray.config import Config, documented_fields, load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.recorded import recorded_file, recorded_steps
from fundus_ray.obs.strict_json import read_json
from fundus_ray.policy.weights_hash import weights_sha256

FACT = "recorded"  # of a run that records: what its recording rests on
# What the recorded groups follow from and the learner's update does not: another value would be of another run.
_FIXED = (
    *("run.seed", "data.source", "data.order", "data.option_order", "policy.path"),
    *("rollout.group_size", "rollout.temperature", "loop.groups_per_step"),
)
_FIXED_SECTIONS = ("sft", "traces")  # they made the base weights
_READ_OF_ROLLOUT = ("rollout.group_size", "rollout.temperature", "rollout.max_tokens")  # by the learner
_IDLE = ("loop.window", "run.record", "learner.restarts", "data.max_quarantined")
_IDLE_SECTIONS = ("evaluate", "reward", "rollout")


@dataclass(frozen=True, slots=True)
class Recording:
    """What lies in the run folder."""

    run_dir: Path
    config: Config  # of the recorded run
    base: Path  # base weights
    base_sha256: str
    steps: int  # updates that were recorded
    sha256: str  # of its first file: which recording this is, wherever it lies

    @classmethod
    def open(cls, run_dir: Path) -> Recording:
        """Raises DataError where there is no recording, or its base weights are gone or others."""
        run_dir = run_dir.resolve()
        steps = recorded_steps(run_dir)
        fact = read_json(run_dir / "facts.json").get(FACT)
        if fact is None:
            raise DataError(f"{run_dir}/facts.json does not say which base weights were recorded from ({FACT})")
        base = Path(fact["base"])
        if not (base / "config.json").is_file():
            raise DataError(f"{run_dir} was recorded from base weights that are not there any more: {base}")
        found = weights_sha256(base)
        if found != fact["base_sha256"]:
            raise DataError(
                f"{run_dir} was recorded from base weights of sha256 {fact['base_sha256'][:12]}, but {base} holds "
                f"{found[:12]} now; put the old ones back"
            )
        first = hashlib.sha256(recorded_file(run_dir, 1).read_bytes()).hexdigest()
        return cls(run_dir, load(run_dir / "config.yaml"), base, found, steps, first)


def recorded_from(base: Path, *, sha256: str) -> dict[str, str]:
    """The fact that a run which records writes down; sha256: of the base weights."""
    return {"base": str(base.resolve()), "base_sha256": sha256}


def as_replayed(config: Config, recording: Recording) -> Config:
    """The configuration without what a replay has no use for. Raises ConfigError where it contradicts the recording."""
    where = f"--replay {recording.run_dir}"
    now, then = (_values(one) for one in (config, recording.config))
    for key, value in now.items():
        fixed = key in _FIXED or key.split(".")[0] in _FIXED_SECTIONS
        if fixed and value != then[key]:
            raise ConfigError(f"{where}: it was recorded with {key}={then[key]}, not {value}; leave it as it was")
    if config.loop.steps > recording.steps:
        raise ConfigError(
            f"{where}: it holds {recording.steps} updates, but loop.steps={config.loop.steps}; set "
            f"loop.steps={recording.steps} or lower"
        )
    if config.max_lag < recording.config.max_lag:
        raise ConfigError(
            f"{where}: its groups may lag {recording.config.max_lag} versions, but loop.async_ratio="
            f"{config.loop.async_ratio:g} allows {config.max_lag}; set loop.async_ratio={recording.config.max_lag}"
        )
    return replace(
        config,
        run=replace(config.run, record=False),
        loop=replace(config.loop, window=0),  # nothing may pass: the order is the recorded one
        rollout=replace(config.rollout, gpus=0.0, cores=""),  # there is no engine, and perhaps no GPU for one
        reward=replace(config.reward, gpus=0.0),
    )


def check_replay_effect(keys: Iterable[str]) -> None:
    """Whether each of `keys`, given on the command line, does anything in a replay. Raises ConfigError."""
    for key in keys:
        idle = key in _IDLE or (key.split(".")[0] in _IDLE_SECTIONS and key not in _READ_OF_ROLLOUT)
        if idle:
            raise ConfigError(f"{key} has no effect with --replay, which neither writes nor scores; leave it out")


def _values(config: Config) -> dict[str, object]:
    return {key: value for key, _, value in documented_fields(config)}
