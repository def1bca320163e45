"""Where a run goes on, and whether it may: its last checkpoint, and what must be as it was.

In: the run folder, and what the settings give now. Out: the checkpoint and the open folder, or one line that says what
differs.
"""

from __future__ import annotations

from pathlib import Path

from fundus_ray.checkpoints import Checkpoint, latest_checkpoint
from fundus_ray.config import Config
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.recorded import recorded_file
from fundus_ray.obs.sinks import RunFolder


def last_of(run_dir: Path) -> Checkpoint:
    """The run's newest complete checkpoint. Raises DataError where there is none."""
    found = latest_checkpoint(run_dir)
    if found is None:
        raise DataError(
            f"{run_dir} holds no complete checkpoint; start a new run, with loop.checkpoint_every set lower"
        )
    return found


def open_folder(config: Config, *, resume: Path | None, checkpoint: Checkpoint | None) -> RunFolder:
    """The folder of the run to go on with, or a new one. Raises ConfigError where loop.steps was passed before."""
    if resume and checkpoint:
        if checkpoint.position.step > config.loop.steps:
            raise ConfigError(
                f"loop.steps={config.loop.steps} lies before the checkpoint of {resume} "
                f"at step {checkpoint.position.step}; set it higher"
            )
        return RunFolder.open(resume)
    folder = RunFolder.create(Path(config.run.dir).resolve(), name=config.run.name)
    write_what_runs(folder, config)
    return folder


def write_what_runs(folder: RunFolder, config: Config) -> None:
    """The settings and versions of this process."""
    folder.write_config(config)
    folder.write_versions()


def check_recording(folder: RunFolder, config: Config, *, step: int) -> None:
    """Raises ConfigError where a resumed run is to record, but the updates up to its checkpoint were not recorded, or
    where it is a replay, whose rollouts are those of another run."""
    of = folder.facts.get("replay", {}).get("of")
    if of:
        raise ConfigError(f"--resume {folder.path} is a replay: go on with --replay {of} --resume {folder.path}")
    missing = [at for at in range(1, step + 1) if not recorded_file(folder.path, at).is_file()]
    if config.run.record and missing:
        raise ConfigError(
            f"run.record=true, but update {missing[0]} of --resume {folder.path} was not recorded, so that the "
            "recording would have no start; leave run.record=false, or start a new run"
        )


def check_same_store(folder: RunFolder, content: str) -> None:
    """The order of prompts goes on exactly only over the same rows. Raises ConfigError where a resumed run would have
    others; content: "" = the data are no store."""
    before = folder.facts.get("data", {}).get("store")
    if before is not None and before != content:
        raise ConfigError(
            f"--resume {folder.path}: it learned from a store with content {before[:12]}, but data.path holds "
            f"{content[:12] or 'no store'} now; give the old store, or start a new run"
        )
    if content:
        folder.write_facts("data", {"store": content})


def check_same_order(folder: RunFolder, order: str) -> None:
    """Raises ConfigError where a resumed run would draw its prompts in another order."""
    before = folder.facts.get("order", {}).get("data.order", order)
    if before != order:
        raise ConfigError(
            f"--resume {folder.path}: its prompts come by data.order={before}, not {order}; leave it as it was"
        )
    folder.write_facts("order", {"data.order": order})


def check_same_base(folder: RunFolder, model_path: Path) -> None:
    """An adapter means nothing on other base weights. Raises ConfigError where a resumed run would have them."""
    before = folder.facts.get("policy", {}).get("base")
    if before is not None and before != str(model_path.resolve()):
        raise ConfigError(
            f"--resume {folder.path}: its policy stands on {before}, but these settings give {model_path}; leave "
            "run.seed, data.*, traces.*, sft.* and policy.* as they were"
        )


def check_same_knowledge(folder: RunFolder, snapshot: str) -> None:
    """Half a run scored by other knowledge is no run. Raises ConfigError where a resumed one would be."""
    before = folder.facts.get("knowledge", {}).get("snapshot")
    if before is not None and before != snapshot:
        raise ConfigError(
            f"--resume {folder.path}: it was scored with knowledge snapshot {before}, but the passages, records and "
            f"settings here make {snapshot}; leave knowledge.* and what it names as they were"
        )
    folder.write_facts("knowledge", {"snapshot": snapshot})
