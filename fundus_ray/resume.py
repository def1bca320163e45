"""Where a run goes on, and whether it may: its last checkpoint, and what must be as it was.

In: the run folder, and what the settings give now. Out: the checkpoint and the open folder, or an error that shows what
differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fundus_ray.checkpoints import Checkpoint, latest_checkpoint
from fundus_ray.config import Config
from fundus_ray.config.may_change import changed, settings_of
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.mirror import get_newest, run_place
from fundus_ray.obs.recorded import recorded_file
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.strict_json import read_json
from fundus_ray.obs.versions import collect_versions
from fundus_ray.progress import say
from fundus_ray.types import Sample

# Part of a run's origin -> what it is, in words.
PARTS = {
    "data": "content of the training samples",
    "knowledge": "knowledge snapshot (passages, records, knowledge.*)",
    "base": "base weights (run.seed, data.*, traces.*, sft.*, policy.*)",
}


class Origin:
    """What a run is made from, as it becomes known. Where a run goes on, each part must be as it was."""

    def __init__(self, config: Config, *, resume: Path | None = None, checkpoint: Checkpoint | None = None) -> None:
        """`checkpoint`: the one of `resume` to go on from. Raises ConfigError where a setting that decides what is
        learned differs."""
        self._run = resume
        self._before: Mapping[str, Any] = {}
        if resume and checkpoint:
            self._before = checkpoint.record or _older_record(resume)
        self._now: dict[str, Any] = {"settings": settings_of(config), "versions": collect_versions()}
        self._refuse(changed(self._before.get("settings", self._now["settings"]), self._now["settings"]))
        self._say_versions()

    def add(self, part: str, content: str) -> None:
        """A hash over the part. Raises ConfigError where it was another one."""
        self._now[part] = content
        if self._before.get(part, content) != content:
            self._refuse({PARTS[part]: (self._before[part], content)})

    def check_order(self, sample_at: Callable[[int], Sample]) -> None:
        """Whether the samples that were to come next do. Raises ConfigError."""
        then = self._before.get("next_samples", {})
        now = {group_id: sample_at(int(group_id)).id for group_id in then}
        self._refuse({f"sample of group {at}": (then[at], now[at]) for at in then if then[at] != now[at]})

    @property
    def record(self) -> Mapping[str, Any]:
        """As checkpoints keep it."""
        return self._now

    def _refuse(self, differences: Mapping[str, tuple[Any, Any]]) -> None:
        if differences:
            lines = [
                f"--resume {self._run}: this would be another run, by what decides what is learned (then -> now):",
                *(f"  {what}: {_shown(before)} -> {_shown(now)}" for what, (before, now) in differences.items()),
                "leave it as it was, or start a new run",
            ]
            raise ConfigError("\n".join(lines))

    def _say_versions(self) -> None:
        then, now = (side.get("versions", {}).get("packages", {}) for side in (self._before, self._now))
        other = [f"{name} {then[name]} -> {now.get(name)}" for name in then if then[name] != now.get(name)]
        if other:
            say(f"packages are not those of the checkpoint: {', '.join(other)}")


def last_of(run_dir: Path, config: Config) -> Checkpoint:
    """The run's newest whole checkpoint; that of run.checkpoints where its folder has none. Raises DataError where
    neither has one."""
    found, address = latest_checkpoint(run_dir), config.run.checkpoints
    if found is None and address:
        there = run_place(address, run_dir.resolve())
        say(f"{run_dir} holds no whole checkpoint; looking in {there.name}")
        if get_newest(there, run_dir, limit_s=config.loop.stall_s):
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


def _older_record(run_dir: Path) -> Mapping[str, Any]:
    """Of a run whose checkpoints hold none: its config.yaml and facts say the most of it; the base weights are then
    compared by the learner alone, which tries the adapter on them."""
    tree: Any = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"))
    record: dict[str, Any] = {
        "settings": {f"{s}.{key}": value for s, part in tree.items() for key, value in part.items()}
    }
    facts = read_json(run_dir / "facts.json") if (run_dir / "facts.json").is_file() else {}
    for part, fact, name in (("data", "data", "store"), ("knowledge", "knowledge", "snapshot")):
        if fact in facts and name in facts[fact]:
            record[part] = facts[fact][name]
    return record


def _shown(value: Any) -> str:
    return (value[:12] if len(value) == 64 else value) or "''" if isinstance(value, str) else str(value)
