from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fundus_ray.obs.faults import Fault
from fundus_ray.obs.report_faults import faults_section
from fundus_ray.obs.run_record import read_run
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.types import ScoredGroup

MakeGroup = Callable[..., ScoredGroup]


def fault(worker: str, kind: str, *requeued: int, recover_s: float | None) -> Fault:
    role = worker.split("-")[0].replace("rollout", "engine")
    return Fault(0.0, role, worker, kind, f"{worker} {kind}", requeued, recover_s)


def test_a_run_without_faults_has_no_section(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    folder.close()
    assert faults_section(read_run(folder.path)) == ""


def test_faults_are_counted_by_kind_with_the_time_that_mending_them_took(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    folder.log_fault(fault("rollout-0", "died", 3, 4, recover_s=10.0))
    folder.log_fault(fault("rollout-1", "died", recover_s=None))
    folder.log_fault(fault("rollout-1", "died", 9, recover_s=30.0))
    folder.log_fault(fault("rollout-0", "hung", 5, recover_s=None))
    folder.log_fault(fault("reward-0", "died", recover_s=2.5))
    folder.close()
    section = faults_section(read_run(folder.path))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert rows[2:] == [
        ["engine", "died", "3", "3", "20.0", "30.0"],
        ["engine", "hung", "1", "1", "-", "-"],
        ["reward", "died", "1", "0", "2.5", "2.5"],
    ]


def test_samples_that_are_left_out_are_named_once_with_their_first_reason_and_stay_so_after_a_resume(
    tmp_path: Path, make_group: MakeGroup
) -> None:
    folder = RunFolder.create(tmp_path, name="run")
    for group_id in range(12):
        prompt = make_group([0.5], group_id=group_id).group.prompt
        folder.log_quarantined(prompt, f"image {group_id} is gone")
    folder.log_quarantined(make_group([0.5], group_id=0).group.prompt, "in its next epoch")
    folder.close()
    section = faults_section(read_run(folder.path))
    assert "13 groups of 12 samples were left out" in section
    assert section.splitlines()[-11] == "- `phantom-0`: image 0 is gone"
    assert section.splitlines()[-1].startswith("- and 2 more in `")
    again = RunFolder.open(folder.path)
    again.cut_back(0)
    assert again.quarantined["phantom-0"] == "image 0 is gone"
    assert len(again.quarantined) == 12
    again.close()
