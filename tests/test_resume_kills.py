"""What the script that kills and resumes a run calls wrong."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import resume_kills
from resume_kills import EVERY, UPDATES, Driven, faults_of_data, faults_of_learning, points

from fundus_ray.obs.recorded import write_recorded
from fundus_ray.types import ScoredGroup

MakeGroup = Callable[..., ScoredGroup]


def test_points_follow_from_the_seed_and_lie_between_the_first_checkpoint_and_the_end() -> None:
    drawn = [points(random.Random(seed), 3) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(EVERY + 1 <= point <= UPDATES - 0.5 for own in drawn for point in own)
    assert drawn[2] == sorted(drawn[2])


def record(folder: Path, make_group: MakeGroup, ids: Sequence[tuple[int, str]]) -> None:
    """One update of groups with these numbers and samples."""
    groups = []
    for group_id, sample in ids:
        plain = make_group([1.0, 0.0], group_id=group_id)
        prompt = plain.group.prompt
        named = dataclasses.replace(prompt, sample=dataclasses.replace(prompt.sample, id=sample))
        groups.append(dataclasses.replace(plain, group=dataclasses.replace(plain.group, prompt=named)))
    write_recorded(folder, 1, groups)


@pytest.mark.parametrize(
    ("ids", "faults"),
    [
        ([(0, "a"), (1, "b"), (2, "b"), (3, "a")], []),
        ([(0, "a"), (1, "b"), (3, "a")], ["groups were lost"]),
        ([(0, "a"), (1, "b"), (1, "b"), (2, "b"), (3, "a")], ["groups were lost or trained twice", "epoch 0: 2 of 2"]),
        ([(0, "a"), (1, "a"), (2, "b"), (3, "a")], ["epoch 0: 1 of 2 samples, up to 2 times"]),
    ],
)
def test_samples_that_were_not_trained_once_an_epoch_are_told(
    tmp_path: Path,
    make_group: MakeGroup,
    monkeypatch: pytest.MonkeyPatch,
    ids: Sequence[tuple[int, str]],
    faults: Sequence[str],
) -> None:
    monkeypatch.setattr(resume_kills, "SAMPLES", 2)
    record(tmp_path, make_group, ids)
    found = faults_of_data(tmp_path)
    assert len(found) == len(faults)
    assert all(told in said for told, said in zip(faults, found, strict=True))


def driven(folder: Path, *, sha256: str, norm: float = 0.5, updates: int = UPDATES) -> Driven:
    folder.mkdir()
    (folder / "facts.json").write_text(json.dumps({"adapter": {"step": updates, "sha256": sha256}}))
    lines = [json.dumps({"step": step, "grad_norm": norm}) for step in range(1, updates + 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return Driven(folder.name, folder)


def test_other_adapters_and_updates_that_moved_nothing_are_told(tmp_path: Path) -> None:
    good, same = driven(tmp_path / "good", sha256="a"), driven(tmp_path / "same", sha256="a")
    assert faults_of_learning([good, same]) == []
    (told,) = faults_of_learning([good, driven(tmp_path / "other", sha256="b")])
    assert "ended with different adapters" in told
    (told,) = faults_of_learning([good, driven(tmp_path / "still", sha256="a", norm=0.0)])
    assert told.startswith("still: gradient norms")
    assert len(faults_of_learning([good, driven(tmp_path / "short", sha256="a", updates=3)])) == 2
