"""What is left of a run however it ends."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from plain_sample import SAMPLE

from fundus_ray.checkpoints import write_checkpoint
from fundus_ray.config import load
from fundus_ray.data.source import DataSplit
from fundus_ray.ending import after_a_failure, run_to_its_end
from fundus_ray.errors import HungError
from fundus_ray.loop import Position
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.trace import Trace
from fundus_ray.run_job import Job


async def test_a_failed_run_says_which_checkpoint_there_is_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    folder.write_config(load(None))
    again = f"fundus-ray train --resume {folder.path}"
    after_a_failure(folder, again=again)
    assert "== no checkpoint was written" in capsys.readouterr().out

    async def save(folder: str) -> None:
        (Path(folder) / "adapter.bin").write_bytes(b"weights")

    await write_checkpoint(folder.path, Position(step=20, group_id=99), save=save)
    after_a_failure(folder, again=again)
    folder.close()
    said = capsys.readouterr().out
    assert f"== the last checkpoint is that of update 20; once mended, go on with: {again}\n" in said
    assert (folder.path / "report.md").is_file()


@pytest.mark.parametrize("cause", [HungError("rollout-0 hangs"), OSError(errno.ENOSPC, "No space left on device")])
def test_what_ended_a_run_is_neither_hidden_by_a_full_disk_nor_without_a_way_on(
    cause: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def stages() -> bool:
        raise cause

    monkeypatch.setattr(Trace, "write", full)
    monkeypatch.setattr("fundus_ray.ending.write_report", full)
    folder = RunFolder.create(tmp_path, name="run")
    job = Job(load(None), DataSplit((), ()), folder, Trace(), tmp_path, None, lambda _: SAMPLE)
    with pytest.raises(type(cause)) as ended:
        run_to_its_end(job, stages())
    folder.close()
    assert ended.value is cause
    said = capsys.readouterr().out
    assert "== no checkpoint was written" in said
    assert "== no report could be made" in said
    assert "== no trace could be written" in said
