"""Rows of the doctor's table."""

from __future__ import annotations

import pickle

import pytest

from fundus_ray.doctor.findings import Finding, counted, fail, merged, raise_failures, table, warn
from fundus_ray.errors import ConfigError

GOOD = Finding("model", "a", "whole")
ODD = warn("disk", "a", "little room", "free some")
BAD = fail("model", "b", "not there", "put it there")


def test_machines_of_which_the_same_was_found_share_a_row() -> None:
    rows = merged([GOOD, BAD, *(Finding("model", name, "whole") for name in "bcdeb")])
    assert rows == [Finding("model", "a, b, c and 2 more", "whole"), BAD]


def test_table_puts_the_remedy_under_its_row_and_none_under_a_good_one() -> None:
    assert table([GOOD, BAD]).splitlines() == [
        "verdict  check  where  found",
        "ok       model  a      whole",
        "fail     model  b      not there",
        "         -> put it there",
    ]


def test_failures_end_the_run_as_bad_input_and_warnings_do_not() -> None:
    raise_failures([GOOD, ODD])
    with pytest.raises(ConfigError) as caught:
        raise_failures([GOOD, ODD, BAD, fail("disk", "c", "full", "free some")])
    assert str(caught.value) == "this run cannot work: model, b: not there; put it there (and 1 more)"
    assert pickle.loads(pickle.dumps(caught.value)).exit_code == 2
    assert counted([GOOD, GOOD, ODD, BAD]) == "4 checks: 2 ok, 1 warn, 1 fail"
