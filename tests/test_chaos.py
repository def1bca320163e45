"""What the chaos script finds wrong with a run, on folders written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import chaos
import pytest

from fundus_ray.obs.trace import IdValue, Span, Trace

ENGINE: dict[str, IdValue] = {"worker": "rollout-0"}


def run_of(folder: Path, *, groups: list[tuple[int, str]], spans: list[Span]) -> Path:
    """groups: step and hash of the version that wrote each; all are trained on in one update."""
    (folder / "rollouts").mkdir()
    lines = [
        json.dumps({"group_id": number, "trainable": True, "policy": {"step": step, "sha256": sha256}})
        for number, (step, sha256) in enumerate(groups)
    ]
    (folder / "rollouts" / "step-000001.jsonl").write_text("".join(f"{line}\n" for line in lines))
    trace = Trace()
    for span in spans:
        trace.add(span)
    trace.write(folder / "trace.json")
    return folder


def delivered(at: float, step: int, sha256: str) -> Span:
    return Span("deliver", at, at + 0.5, {"step": step, "sha256": sha256})


def test_a_group_of_a_version_that_was_made_anew_is_found(tmp_path: Path) -> None:
    spans = [delivered(1.0, 0, "a"), delivered(2.0, 1, "b"), delivered(3.0, 0, "a"), delivered(4.0, 1, "c")]
    run = run_of(tmp_path, groups=[(0, "a"), (1, "c"), (1, "b"), (7, "x")], spans=spans)
    assert chaos.version_problems(run) == ["2 groups were trained on that a version taken back had written"]


@pytest.mark.parametrize(
    ("began", "found"),
    [
        (9.0, False),  # before its death
        (12.0, True),
        (25.0, True),  # it died at its start once more
        (31.0, False),
    ],
)
def test_an_engine_that_writes_between_its_death_and_its_return_is_found(
    began: float, found: bool, tmp_path: Path
) -> None:
    spans = [
        Span("fault", 10.0, 10.0, ENGINE),
        Span("restart", 11.0, 20.0, ENGINE),
        Span("fault", 20.0, 20.0, ENGINE),
        Span("restart", 21.0, 30.0, ENGINE),
        Span("generate", began, 40.0, ENGINE),
        Span("generate", 15.0, 16.0, {"worker": "rollout-1"}),
    ]
    said = "rollout-0 was given a prompt between its death and the proof of its version"
    assert chaos.version_problems(run_of(tmp_path, groups=[], spans=spans)) == [said] * found
