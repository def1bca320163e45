"""A model to be evaluated, as it lies on the disk.

In: the folder of a checkpoint, and perhaps that of an adapter. Out: `StoredModel`, after both were looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fundus_ray.checkpoints import STATE_FILE, latest_checkpoint
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.learner.worker import ADAPTER_FOLDER
from fundus_ray.obs.strict_json import read_json
from fundus_ray.policy.stored_adapter import StoredAdapter, read_adapter

FACTS = "facts.json"  # of a run folder


@dataclass(frozen=True, slots=True)
class StoredModel:
    """Base weights, and an adapter on them or none."""

    base: Path
    adapter: StoredAdapter | None


@dataclass(frozen=True, slots=True)
class TrainedPolicy:
    """A checkpoint of a run, and the base weights that its adapter belongs to."""

    run_dir: Path
    base: Path
    adapter: Path
    step: int


def trained_policy(given: Path) -> TrainedPolicy:
    """`given`: a run folder (its newest checkpoint) or a checkpoint of a run.

    Raises ConfigError where it is neither, DataError where there is no complete checkpoint, or its base weights are
    gone.
    """
    checkpoint, run_dir = given.resolve(), given.resolve()
    if (run_dir / FACTS).is_file():
        newest = latest_checkpoint(run_dir)
        if newest is None:
            raise DataError(f"--policy {given} holds no complete checkpoint yet")
        checkpoint = newest.folder
    elif (checkpoint / STATE_FILE).is_file():
        run_dir = checkpoint.parents[1]
    else:
        raise ConfigError(
            f"--policy {given} is neither a run folder ({FACTS}) nor a checkpoint of one ({STATE_FILE}), so nothing "
            "was trained there"
        )
    base = _base(run_dir)
    if base is None or not (base / "config.json").is_file():
        raise DataError(f"--policy {given} rests on base weights that are not there any more: {base or 'unknown'}")
    step = int(read_json(checkpoint / STATE_FILE)["step"])
    return TrainedPolicy(run_dir, base.resolve(), checkpoint / ADAPTER_FOLDER, step)


def find_model(model: Path, adapter: Path | None) -> StoredModel:
    """The base weights in `model`; `adapter`: a run folder (its newest checkpoint's), a checkpoint of a run, or an
    adapter's own folder.

    Raises ConfigError where either is not that, or the adapter belongs to other base weights; DataError where a file of
    the adapter is missing or damaged.
    """
    if (model / FACTS).is_file():
        base = _base(model) or "ITS BASE WEIGHTS"
        raise ConfigError(f"--model {model} is a run folder; give --model {base} --adapter {model}")
    if not (model / "config.json").is_file():
        raise ConfigError(
            f"--model {model}: no config.json there; give the folder of a checkpoint (nothing is downloaded)"
        )
    return StoredModel(model.resolve(), None if adapter is None else read_adapter(_files(adapter, model), base=model))


def _files(given: Path, model: Path) -> Path:
    """The adapter's own folder."""
    checkpoint = given.resolve()  # a name alone has no folder above it
    if (given / FACTS).is_file():
        newest = latest_checkpoint(given)
        if newest is None:
            raise DataError(f"--adapter {given} holds no complete checkpoint yet")
        checkpoint = newest.folder
    if (checkpoint / STATE_FILE).is_file():
        base = _base(checkpoint.parents[1])
        if base is not None and base.resolve() != model.resolve():
            raise ConfigError(f"--adapter {given} was trained on {base}, not on --model {model}; give that one")
        return checkpoint / ADAPTER_FOLDER
    if not (given / "adapter_config.json").is_file():
        raise ConfigError(
            f"--adapter {given} is neither a run folder ({FACTS}), nor a checkpoint of one ({STATE_FILE}), nor an "
            "adapter (adapter_config.json)"
        )
    return given


def _base(run_dir: Path) -> Path | None:
    """What the run's facts name, if they do."""
    facts = run_dir / FACTS
    base = read_json(facts).get("policy", {}).get("base") if facts.is_file() else None
    return None if base is None else Path(base)
