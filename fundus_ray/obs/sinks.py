"""The run folder: everything a run leaves behind, written as it happens.

In: records and metrics. Out, under DIR/NAME-YYYYMMDD-HHMMSS with DIR/latest pointing to it:

    config.yaml                    the resolved configuration          stages.json   wall seconds by stage
    versions.json                  interpreter, packages, commit       facts.json    facts by name
    metrics.jsonl, tensorboard/    one record a learner step
    alarms.jsonl                   what was wrong with the reward, one record a kind, with the step that it began at
    quarantine.jsonl               groups of samples that cannot be used and are left out, with the reason
    faults.jsonl                   workers that died or hung, and the groups that were done again (obs/faults.py)
    rollouts/step-000001.jsonl     one scored rollout a line, with its evidence
    recorded/step-000001.parquet   with run.record: the groups that the step took, to be trained on again (recorded.py)
    evaluation-before.json, evaluation-before-rows.jsonl; the same for `after`, and for checkpoints as `step-000010`

All steps count policy versions: step 1 is the first update. Lines are flushed, whole files are replaced in one step, so
a crash loses at most the line being written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from fundus_ray.config import Config, to_yaml
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.obs.events import ScalarEvents
from fundus_ray.obs.faults import Fault
from fundus_ray.obs.recorded import cut_recorded, write_recorded
from fundus_ray.obs.rollout_lines import rollout_lines
from fundus_ray.obs.strict_json import JsonLines, line_of, read_json, read_lines, write_json, write_text
from fundus_ray.obs.versions import collect_versions
from fundus_ray.types import Prompt, ScoredGroup

# Made from what lies after the checkpoint; a resumed run makes them again.
STALE_AFTER_RESUME = ("evaluation-after*", "evaluation-step-*", "report.md", "summary.json", "curves.png")
STALE_FACTS = ("photo", "adapter")


class Evaluation(Protocol):
    """What `log_evaluation` needs of evaluate.metrics.EvalResult."""

    @property
    def rows(self) -> Sequence[Any]:
        """One dataclass a sample."""

    def summary(self) -> dict[str, Any]:
        """The result without its rows."""


class RunFolder:
    """An open run folder; use `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "rollouts").mkdir(exist_ok=True)
        self._metrics = JsonLines(path / "metrics.jsonl")
        self._events = ScalarEvents(path / "tensorboard")
        self._alarms = JsonLines(path / "alarms.jsonl")
        self._faults = JsonLines(path / "faults.jsonl")
        self._quarantine = JsonLines(path / "quarantine.jsonl")
        self._stages: dict[str, float] = _read_or_empty(path / "stages.json")
        self._facts: dict[str, dict[str, Any]] = _read_or_empty(path / "facts.json")

    @classmethod
    def create(cls, parent: Path, *, name: str, now: datetime | None = None) -> RunFolder:
        """A new folder and the link `latest`. Raises ConfigError where `parent` cannot hold one."""
        stem = f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _make_new(parent, stem)
            _point_latest(parent, path)
        except OSError as err:
            raise ConfigError(f"run.dir={parent}, run.name={name}: no run folder can be made there: {err}") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing folder for --resume; `cut_back` before the first step. Raises DataError if it is none."""
        path = path.resolve()
        if not (path / "metrics.jsonl").is_file():
            raise DataError(f"{path} is not a run folder: it has no metrics.jsonl")
        return cls(path)

    def cut_back(self, upto_step: int) -> None:
        """Remove what was made after the checkpoint's step, and point `latest` here.

        Apart from `open`, so that a resume which fails before its actors run costs nothing of the old results.
        """
        self._metrics = _cut_lines(self._metrics, self.path / "metrics.jsonl", upto_step=upto_step)
        self._alarms = _cut_lines(self._alarms, self.path / "alarms.jsonl", upto_step=upto_step)
        for file in (self.path / "rollouts").glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > upto_step:
                file.unlink()
        cut_recorded(self.path, upto_step)
        for pattern in STALE_AFTER_RESUME:
            for file in self.path.glob(pattern):
                file.unlink()
        self._facts = {name: facts for name, facts in self._facts.items() if name not in STALE_FACTS}
        write_json(self.path / "facts.json", self._facts)
        self._events.purge(upto_step + 1)
        _point_latest(self.path.parent, self.path)

    @property
    def facts(self) -> Mapping[str, Mapping[str, Any]]:
        """What was written by `write_facts`, in this process or before a resume."""
        return self._facts

    def write_config(self, config: Config) -> None:
        """The resolved configuration, as `--config` takes it."""
        write_text(self.path / "config.yaml", to_yaml(config))

    def write_versions(self) -> None:
        """Interpreter, packages, commit, machine, command line."""
        write_json(self.path / "versions.json", collect_versions())

    def write_facts(self, name: str, facts: Mapping[str, Any]) -> None:
        """Put facts under a name, replacing what it held. The report reads "rl" and "photo" (obs/run_record.py)."""
        self._facts[name] = dict(facts)
        write_json(self.path / "facts.json", self._facts)

    @contextmanager
    def time_stage(self, name: str) -> Iterator[None]:
        """Add the body's wall seconds to the stage, also where it raises; adds up over calls and resumes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_stage_seconds(name, time.perf_counter() - start)

    def add_stage_seconds(self, name: str, seconds: float) -> None:
        """The same for a stage that was measured elsewhere, e.g. before the folder was made."""
        self._stages[name] = self._stages.get(name, 0.0) + seconds
        write_json(self.path / "stages.json", self._stages)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """One learner step's metrics. NaN and infinities go out as null and are listed under "non_finite"."""
        self._metrics.append({"step": step, "time": time.time(), **{k: float(v) for k, v in metrics.items()}})
        self._events.add(step, metrics)

    def log_alarm(self, step: int, *, kind: str, text: str) -> None:
        """Something that is wrong with the reward from this step on."""
        self._alarms.append({"step": step, "kind": kind, "text": text})

    def log_fault(self, fault: Fault) -> None:
        """A worker that died. A resume keeps it: it happened, whatever became of the updates around it."""
        self._faults.append(fault.line())

    def log_quarantined(self, prompt: Prompt, reason: str) -> None:
        """A group that is left out; its sample is from now on, after a resume too."""
        record = {"time": time.time(), "sample": prompt.sample.id, "group_id": prompt.group_id, "reason": reason}
        self._quarantine.append(record)

    @property
    def quarantined(self) -> dict[str, str]:
        """Ids of the samples that are left out -> reasons."""
        reasons: dict[str, str] = {}
        for line in read_lines(self.path / "quarantine.jsonl"):
            reasons.setdefault(line["sample"], line["reason"])
        return reasons

    def log_scored(self, step: int, groups: Sequence[ScoredGroup], *, image_paths: bool = False) -> None:
        """All groups that this step took, trained or dropped; one call a step, a second one replaces the first."""
        lines = [line_of(line) + "\n" for group in groups for line in rollout_lines(group, image_paths=image_paths)]
        write_text(self.path / "rollouts" / f"step-{step:06d}.jsonl", "".join(lines))

    def record(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """The same groups whole, to be trained on again; before `log_step`, which makes the step count."""
        write_recorded(self.path, step, groups)

    def log_evaluation(self, when: str, result: Evaluation) -> None:
        """The held-out result and its rows. when: before, after, or as `checkpoint_name` says."""
        lines = [line_of(asdict(row)) + "\n" for row in result.rows]
        write_text(self.path / f"evaluation-{when}-rows.jsonl", "".join(lines))
        write_json(self.path / f"evaluation-{when}.json", {"time": time.time(), **result.summary()})

    def close(self) -> None:
        """Close the open files."""
        self._metrics.close()
        self._alarms.close()
        self._faults.close()
        self._quarantine.close()
        self._events.close()


def checkpoint_name(step: int) -> str:
    """What an evaluation of this update's checkpoint is called."""
    return f"step-{step:06d}"


def _cut_lines(lines: JsonLines, path: Path, *, upto_step: int) -> JsonLines:
    """The file without the records after the step."""
    lines.close()
    kept = [line_of(record) + "\n" for record in read_lines(path) if record["step"] <= upto_step]
    write_text(path, "".join(kept))
    return JsonLines(path)


def _make_new(parent: Path, stem: str) -> Path:
    """Two runs started in one second get different folders."""
    for number in range(1, 1000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{parent / stem} and 998 more exist")


def _point_latest(parent: Path, path: Path) -> None:
    """The link is relative, so that the parent folder can be moved, and replaced in one step."""
    part = parent / f".latest-{os.getpid()}"
    part.unlink(missing_ok=True)
    part.symlink_to(path.name, target_is_directory=True)
    try:
        os.replace(part, parent / "latest")
    except OSError:
        part.unlink()
        raise


def _read_or_empty(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold a JSON object")
    return value
