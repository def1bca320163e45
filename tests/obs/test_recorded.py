"""Recorded groups: they come back as they were, and a file that cannot be trusted is refused by name and row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fundus_ray.errors import DataError
from fundus_ray.obs.recorded import cut_recorded, read_recorded, recorded_file, recorded_steps, write_recorded
from fundus_ray.obs.recorded_rows import SCHEMA
from fundus_ray.quarantine import quarantined
from fundus_ray.types import CheckedClaim, ScoredGroup, ScoringCost, Verdict

MakeGroup = Callable[..., ScoredGroup]


def full_group(make_group: MakeGroup, *, group_id: int = 3) -> ScoredGroup:
    """Every field away from its default, logprobs that a float32 or a short decimal would not keep."""
    plain = make_group([1.0 / 3.0, 0.0], group_id=group_id, step=2)
    claim = CheckedClaim("drusen", "normal", False, 3, 9, Verdict.CONTRADICTED, 0.7, "record", "p#1", "said\nso")
    scored = tuple(
        dataclasses.replace(
            item,
            rollout=dataclasses.replace(item.rollout, logprobs=(-0.1 - 2**-50, -1e-300)),
            claims=(claim,),
            recited=("drusen",) if at else None,
            answer=None if at else item.answer,
            findings=("drusen", "haemorrhage"),
        )
        for at, item in enumerate(plain.scored)
    )
    return dataclasses.replace(
        plain,
        scored=scored,
        group=dataclasses.replace(plain.group, rollouts=tuple(item.rollout for item in scored)),
        cost=ScoringCost(1, 2, 3, 4, 0.5, "open", "mask"),
        weights={"grounding": 0.5, "accuracy": 1.0},
    )


def test_groups_come_back_as_they_were_in_the_order_in_which_they_were_taken(
    tmp_path: Path, make_group: MakeGroup
) -> None:
    taken = [full_group(make_group, group_id=5), make_group([None, 1.0], group_id=2), full_group(make_group)]
    taken.append(quarantined(make_group([1.0], group_id=9).group.prompt, at_s=3.5))
    write_recorded(tmp_path, 4, taken)
    read = [one.with_prompt(group.group.prompt) for one, group in zip(read_recorded(tmp_path, 4), taken, strict=True)]
    assert read == taken
    assert [list(one.weights) for one in read] == [list(one.weights) for one in taken]  # dicts compare without order
    assert not list(recorded_file(tmp_path, 4).parent.glob(".*"))


def test_no_path_of_an_image_is_recorded(tmp_path: Path, make_group: MakeGroup) -> None:
    group = make_group([1.0, 0.0])
    write_recorded(tmp_path, 1, [group])
    rows = pq.read_table(recorded_file(tmp_path, 1)).to_pylist()
    assert group.group.prompt.sample.image.path not in str(rows)
    assert rows[0]["image_sha256"] == group.group.prompt.sample.image.sha256


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda p: dataclasses.replace(p, seed=p.seed + 1),
            "seed 300, but the data give it phantom-3, abababababab, 301",
        ),
        (
            lambda p: dataclasses.replace(p, sample=dataclasses.replace(p.sample, id="phantom-9")),
            "group 3 is of sample phantom-3, image abababababab, seed 300, but the data give it phantom-9",
        ),
    ],
)
def test_another_prompt_than_the_recorded_one_is_refused(
    tmp_path: Path, make_group: MakeGroup, change: Any, told: str
) -> None:
    group = make_group([1.0, 0.0], group_id=3)
    write_recorded(tmp_path, 1, [group])
    (one,) = read_recorded(tmp_path, 1)
    with pytest.raises(DataError, match=rf"step-000001\.parquet row 0: .*{told}"):
        one.with_prompt(change(group.group.prompt))


def test_recordings_without_a_start_or_with_a_hole_are_refused(tmp_path: Path, make_group: MakeGroup) -> None:
    with pytest.raises(DataError, match=r"holds no recorded rollouts .* run\.record=true"):
        recorded_steps(tmp_path)
    for step in (1, 2, 4):
        write_recorded(tmp_path, step, [make_group([1.0, 0.0])])
    with pytest.raises(DataError, match=r"recorded/step-000003\.parquet is missing"):
        recorded_steps(tmp_path)
    write_recorded(tmp_path, 3, [make_group([1.0, 0.0])])
    assert recorded_steps(tmp_path) == 4


def test_what_follows_a_checkpoint_is_cut(tmp_path: Path, make_group: MakeGroup) -> None:
    for step in (1, 2, 3):
        write_recorded(tmp_path, step, [make_group([1.0, 0.0])])
    cut_recorded(tmp_path, 1)
    assert recorded_steps(tmp_path) == 1


def test_damaged_and_foreign_files_are_named(tmp_path: Path, make_group: MakeGroup) -> None:
    write_recorded(tmp_path, 1, [make_group([1.0, 0.0])])
    path = recorded_file(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"step-000001\.parquet cannot be read"):
        read_recorded(tmp_path, 1)
    path.write_bytes(whole)
    path.rename(recorded_file(tmp_path, 2))
    with pytest.raises(DataError, match=r"step-000002\.parquet was recorded by update 1, not 2"):
        read_recorded(tmp_path, 2)
    pq.write_table(pa.table({"group_id": [1]}), path)
    with pytest.raises(DataError, match=r"has form none of recorded rollouts, this version reads form 1"):
        read_recorded(tmp_path, 1)
    narrow = pq.read_table(recorded_file(tmp_path, 2)).drop_columns(["seed"])
    pq.write_table(narrow, path)
    with pytest.raises(
        DataError, match="other columns than recorded rollouts of form 1: seed is missing, expected int64"
    ):
        read_recorded(tmp_path, 1)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("group_id",), None, "row 1: group_id is null"),
        (("rollouts",), [], "row 1 is trainable but holds no rollouts"),
        (("trainable",), False, "row 1: trainable=False contradicts drop_reason=''"),
        (("drop_reason",), "no_spread", "row 1: trainable=True contradicts drop_reason='no_spread'"),
        (("rollouts", 1), None, "row 1: rollouts is null, or holds one"),
        (("rollouts", 1, "token_ids"), [5], "row 1 rollout 1 has 1 tokens, 2 log-probabilities"),
        (("rollouts", 1, "token_ids"), [5, None], "row 1 rollout 1: token_ids is null, or holds one"),
        (("rollouts", 1, "logprobs"), [-1.0, math.nan], "row 1 rollout 1 has a log-probability or a total that is not"),
        (("rollouts", 1, "total"), math.inf, "row 1 rollout 1 has a log-probability or a total that is not finite"),
        (("rollouts", 1, "status"), "paid", "row 1 rollout 1 is no scored rollout: 'paid' is not a valid RewardStatus"),
        (("rollouts", 1, "text"), None, "row 1 rollout 1: text is null"),
        (("rollouts", 1, "evidence", 0, "rank"), None, "row 1 rollout 1 evidence 0: rank is null"),
        (("cost", "tries"), None, "row 1 cost: tries is null"),
    ],
)
def test_a_row_that_cannot_be_trusted_is_named(
    tmp_path: Path, make_group: MakeGroup, path: tuple[Any, ...], value: Any, told: str
) -> None:
    write_recorded(tmp_path, 1, [make_group([1.0, 0.0]), make_group([1.0, 0.0], group_id=1)])
    file = recorded_file(tmp_path, 1)
    metadata = pq.read_table(file).schema.metadata
    rows = pq.read_table(file).to_pylist()
    place: Any = rows[1]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata)), file)
    with pytest.raises(DataError, match=rf"step-000001\.parquet {told}"):
        read_recorded(tmp_path, 1)
