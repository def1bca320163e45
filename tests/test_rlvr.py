"""What becomes of checkpoints around the updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from plain_sample import SAMPLE

from fundus_ray.config import load
from fundus_ray.errors import StalledError
from fundus_ray.loop import Position
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.trace import Trace
from fundus_ray.rlvr import mirrored, save_checkpoint
from fundus_ray.run_job import Job


async def save(folder: str) -> None:
    (Path(folder) / "adapter.bin").write_bytes(b"weights")


async def test_the_checkpoint_of_a_run_that_fails_is_copied_to_its_end(tmp_path: Path) -> None:
    config = load(None, [f"run.checkpoints=file://{tmp_path}/mirror"])
    folder = RunFolder.create(tmp_path / "runs", name="run")
    job = Job(config, cast(Any, None), folder, Trace(), tmp_path, None, lambda _: SAMPLE, {})

    async def stall() -> None:
        async with mirrored(job) as mirror:
            await save_checkpoint(job, Position(step=3, group_id=24), save=save, mirror=mirror)
            raise StalledError("no trainable group")

    with pytest.raises(StalledError):
        await stall()
    folder.close()
    moved = tmp_path / "mirror" / folder.path.name / "step-000003"
    assert {path.name for path in moved.iterdir()} == {"adapter.bin", "state.json"}
