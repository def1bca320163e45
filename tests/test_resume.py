"""Where a run may go on, and where not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_sample import SAMPLE

from fundus_ray.checkpoints import Checkpoint, latest_checkpoint, write_checkpoint
from fundus_ray.config import load, to_yaml
from fundus_ray.errors import ConfigError
from fundus_ray.loop import Position
from fundus_ray.obs.recorded import write_recorded
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.resume import Origin, check_recording
from fundus_ray.types import Sample, ScoredGroup

AT = Position(step=2, group_id=8)


async def save(folder: str) -> None:
    (Path(folder) / "adapter.bin").write_bytes(b"weights")


async def checkpoint_of(run_dir: Path, record: dict[str, Any]) -> Checkpoint:
    await write_checkpoint(run_dir, AT, save=save, record=record)
    found = latest_checkpoint(run_dir)
    assert found is not None
    return found


async def test_a_run_does_not_go_on_with_settings_that_decide_what_is_learned_and_the_difference_is_shown(
    tmp_path: Path,
) -> None:
    first = Origin(load(None, ["learner.kl=0.1", "rollout.group_size=4"]))
    checkpoint = await checkpoint_of(tmp_path, dict(first.record))
    again = load(None, ["learner.kl=0.2", "rollout.group_size=8", "loop.steps=99"])
    with pytest.raises(ConfigError) as refused:
        Origin(again, resume=tmp_path, checkpoint=checkpoint)
    assert str(refused.value).splitlines() == [
        f"--resume {tmp_path}: this would be another run, by what decides what is learned (then -> now):",
        "  rollout.group_size: 4 -> 8",
        "  learner.kl: 0.1 -> 0.2",
        "leave it as it was, or start a new run",
    ]


async def test_a_run_goes_on_with_more_steps_and_other_workers(tmp_path: Path) -> None:
    first = Origin(load(None, []))
    checkpoint = await checkpoint_of(tmp_path, dict(first.record))
    free = ["loop.steps=99", "rollout.workers=3", "learner.learning_rate=0.5", "evaluate.samples=7", "run.name=x"]
    Origin(load(None, [*free, "ray.start_timeout_s=9"]), resume=tmp_path, checkpoint=checkpoint)


PARTS = [
    ("data", r"  content of the training samples: a{12} -> b{12}\n"),
    ("knowledge", r"  knowledge snapshot \(.*\): a{12} -> b{12}\n"),
    ("base", r"  base weights \(.*\): a{12} -> b{12}\n"),
]


@pytest.mark.parametrize(("part", "shown"), PARTS)
async def test_a_run_does_not_go_on_over_other_content(tmp_path: Path, part: str, shown: str) -> None:
    first = Origin(load(None, []))
    first.add(part, "a" * 64)
    checkpoint = await checkpoint_of(tmp_path, dict(first.record))
    second = Origin(load(None, []), resume=tmp_path, checkpoint=checkpoint)
    second.add(part, "a" * 64)
    with pytest.raises(ConfigError, match=shown):
        second.add(part, "b" * 64)


async def test_a_run_does_not_go_on_where_other_samples_would_come_next(tmp_path: Path) -> None:
    def sample_at(group_id: int) -> Sample:
        return SAMPLE

    record = {"next_samples": {"8": SAMPLE.id, "9": SAMPLE.id}}
    checkpoint = await checkpoint_of(tmp_path, record)
    Origin(load(None, []), resume=tmp_path, checkpoint=checkpoint).check_order(sample_at)
    record["next_samples"]["9"] = "another"
    checkpoint = await checkpoint_of(tmp_path, record)
    with pytest.raises(ConfigError, match=f"  sample of group 9: another -> {SAMPLE.id}\n"):
        Origin(load(None, []), resume=tmp_path, checkpoint=checkpoint).check_order(sample_at)


async def test_other_packages_are_said_and_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(json.dumps(Origin(load(None, [])).record))
    record["versions"]["packages"]["torch"] = "1.0"
    checkpoint = await checkpoint_of(tmp_path, record)
    Origin(load(None, []), resume=tmp_path, checkpoint=checkpoint)
    assert "packages are not those of the checkpoint: torch 1.0 -> " in capsys.readouterr().out


async def test_a_run_of_an_older_version_is_compared_by_its_settings_file_and_facts(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(load(None, ["learner.kl=0.1", "learner.learning_rate=1e-5"])))
    (tmp_path / "facts.json").write_text('{"knowledge": {"snapshot": "aaaa"}, "data": {"store": "cccc"}}')
    checkpoint = await checkpoint_of(tmp_path, {})
    with pytest.raises(ConfigError, match=r"\n  learner\.kl: 0\.1 -> 0\.0\n"):
        Origin(load(None, []), resume=tmp_path, checkpoint=checkpoint)
    origin = Origin(load(None, ["learner.kl=0.1"]), resume=tmp_path, checkpoint=checkpoint)
    origin.add("base", "not known then")
    with pytest.raises(ConfigError, match=r"knowledge snapshot .*: aaaa -> bbbb"):
        origin.add("knowledge", "bbbb")
    with pytest.raises(ConfigError, match="content of the training samples: cccc -> dddd"):
        origin.add("data", "dddd")


def test_a_run_does_not_begin_to_record_in_its_middle(tmp_path: Path, make_group: Callable[..., ScoredGroup]) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    records = load(None, ["run.record=true"])
    check_recording(folder, records, step=0)
    check_recording(folder, load(None, []), step=2)
    write_recorded(folder.path, 1, [make_group([1.0, 0.0])])
    with pytest.raises(ConfigError, match=r"run\.record=true, but update 2 of --resume .* was not recorded"):
        check_recording(folder, records, step=2)
    write_recorded(folder.path, 2, [make_group([1.0, 0.0])])
    check_recording(folder, records, step=2)
    folder.write_facts("replay", {"of": "/runs/live"})
    with pytest.raises(ConfigError, match=rf"is a replay: go on with --replay /runs/live --resume {folder.path}"):
        check_recording(folder, records, step=2)
    folder.close()
