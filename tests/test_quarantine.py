from __future__ import annotations

import pytest
from plain_sample import prompt

from fundus_ray.errors import DataError
from fundus_ray.quarantine import Quarantine, quarantined
from fundus_ray.types import Prompt


def test_a_sample_is_left_out_with_its_first_reason_and_each_of_its_groups_is_noted() -> None:
    noted: list[tuple[int, str]] = []

    def note(group: Prompt, reason: str) -> None:
        noted.append((group.group_id, reason))

    quarantine = Quarantine(limit=1, note=note, held={"s7": "image s7.png is gone"})
    assert quarantine.reason("s7") == "image s7.png is gone"
    assert quarantine.reason("s8") == ""
    quarantine.add(prompt(7), "another reason")  # in its next epoch: no further sample
    assert quarantine.reason("s7") == "image s7.png is gone"
    assert noted == [(7, "another reason")]


def test_one_sample_more_than_allowed_is_an_error_that_names_the_setting_and_the_last_reason() -> None:
    noted: list[int] = []
    quarantine = Quarantine(limit=2, note=lambda group, _: noted.append(group.group_id))
    quarantine.add(prompt(1), "one")
    quarantine.add(prompt(2), "two")
    with pytest.raises(DataError, match=r"^3 samples .* more than data\.max_quarantined=2; .*; the last: three$"):
        quarantine.add(prompt(3), "three")
    assert noted == [1, 2, 3]


def test_a_group_that_was_never_written_is_dropped_and_holds_no_rollout() -> None:
    group = quarantined(prompt(5), at_s=3.0)
    assert (group.trainable, group.drop_reason, group.scored, group.group.rollouts) == (False, "quarantined", (), ())
    assert group.group.prompt.group_id == 5
