"""What is left of a run however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.checkpoints import write_checkpoint
from fundus_ray.config import load
from fundus_ray.ending import after_a_failure
from fundus_ray.loop import Position
from fundus_ray.obs.sinks import RunFolder


async def test_a_failed_run_says_which_checkpoint_there_is_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    folder.write_config(load(None))
    again = f"fundus-ray train --resume {folder.path}"
    after_a_failure(folder, again=again)
    assert "== no checkpoint was written" in capsys.readouterr().out

    async def save(_: str) -> None:
        pass

    await write_checkpoint(folder.path, Position(step=20, group_id=99), save=save)
    after_a_failure(folder, again=again)
    folder.close()
    said = capsys.readouterr().out
    assert f"== the last checkpoint is that of update 20; once mended, go on with: {again}\n" in said
    assert (folder.path / "report.md").is_file()
