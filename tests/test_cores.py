"""Affinity of real processes: of threads that are there already, and of what is started later."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fundus_ray.cluster import check_machine
from fundus_ray.config import load
from fundus_ray.cores import check_cores, parse_cores, pin_process, pinned, share_of_cores
from fundus_ray.errors import ConfigError

PINNED = """
import os, subprocess, sys, threading
from fundus_ray.cores import pin_process

go, seen = threading.Event(), {}
def early():
    go.wait(30)
    seen["early"] = os.sched_getaffinity(0)
thread = threading.Thread(target=early)
thread.start()
pin_process(sys.argv[1], key="learner.cores")
go.set()
thread.join()
late = threading.Thread(target=lambda: seen.update(late=os.sched_getaffinity(0)))
late.start()
late.join()
child = subprocess.run([sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"], capture_output=True)
print(*seen["early"], *seen["late"], *os.sched_getaffinity(0), int(child.stdout))
"""


@pytest.mark.parametrize(
    ("text", "cores"), [("", set()), ("0", {0}), ("3,1", {1, 3}), ("0,2-5,9", {0, 2, 3, 4, 5, 9}), ("2-2", {2})]
)
def test_cores_are_read_as_written(text: str, cores: set[int]) -> None:
    assert parse_cores(text, key="rollout.cores") == cores


def test_ranks_divide_the_cores_in_order_or_have_all_of_them() -> None:
    def shares(text: str, parts: int) -> list[str]:
        return [share_of_cores(text, key="learner.cores", part=part, parts=parts) for part in range(parts)]

    assert shares("4,0-2", 2) == ["0,1", "2,4"]
    assert shares("0-4", 3) == ["0", "1,2", "3,4"]
    assert shares("6", 2) == ["6", "6"]
    assert shares("0,2-5", 1) == ["0,2-5"]
    assert shares("", 2) == ["", ""]


@pytest.mark.parametrize("text", ["a", "0,", ",1", "1-", "-1", "0 1", "1--2", "0;1", "99999"])
def test_what_names_no_cores_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^rollout\.cores='.*' must name cores as 0 or 0,2-5, or be empty"):
        parse_cores(text, key="rollout.cores")


def test_a_range_that_ends_before_it_begins_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"learner\.cores='0,5-2': 5-2 ends before it begins; write 2-5"):
        load(None, ["learner.cores=0,5-2"])


def test_a_core_that_is_not_there_is_an_error_before_anything_starts() -> None:
    first = min(os.sched_getaffinity(0))
    with pytest.raises(ConfigError, match=rf"learner\.cores={first},9999: this machine lets .* on cores {first}"):
        check_machine(load(None, [f"learner.cores='{first},9999'"]))


def test_every_thread_and_every_child_of_a_pinned_process_runs_on_its_core() -> None:
    core = max(os.sched_getaffinity(0))
    out = subprocess.run(
        [sys.executable, "-c", PINNED, str(core)], capture_output=True, text=True, timeout=120, check=True
    )
    assert out.stdout.split() == [str(core)] * 4


def test_without_cores_a_process_stays_as_it_is() -> None:
    before = os.sched_getaffinity(0)
    pin_process("", key="learner.cores")
    assert check_cores("", key="learner.cores") == frozenset()
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_child_may_leave_the_cores_that_it_inherits_and_its_parent_gets_back_those_from_before() -> None:
    first, *_, last = sorted(before := os.sched_getaffinity(0))
    with pinned(str(first), key="ray.cores"):
        assert os.sched_getaffinity(0) == {first}
        out = subprocess.run(
            [sys.executable, "-c", PINNED, str(last)], capture_output=True, text=True, timeout=120, check=True
        )
    assert out.stdout.split() == [str(last)] * 4
    assert os.sched_getaffinity(0) == before
