"""Moved with its code: what is paired, and what is not compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from paired_difference import Difference, bootstrapped, check_paired, points


def rows(*samples: str) -> list[Any]:
    return [SimpleNamespace(sample=sample) for sample in samples]


def test_arms_that_were_not_read_on_the_same_samples_are_not_compared() -> None:
    with pytest.raises(ValueError, match="'y' and 'x' were not read on the same held-out samples"):
        check_paired({"x": [rows("a", "b")], "y": [rows("b", "a")]})
    check_paired({"x": [rows("a")], "y": [rows("a")]})


def test_each_seed_has_its_own_difference_and_all_samples_weigh_alike() -> None:
    right, wrong = np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]])
    first = (np.repeat(right, 3, axis=0), np.repeat(wrong, 3, axis=0))  # +1 on three samples
    second = (wrong, right)  # -1 on one
    found = bootstrapped([first, second])
    assert found is not None
    assert (found.value, found.seeds, found.holds) == (0.5, (1.0, -1.0), False)


def test_points_are_bold_only_where_the_difference_holds() -> None:
    assert points(Difference(0.021, 0.003, 0.04, (0.01, 0.032))) == "**+2.1 [+0.3, +4.0]**; +1.0 +3.2"
    assert points(Difference(0.021, -0.003, 0.04, (0.01, 0.032))) == "+2.1 [-0.3, +4.0]; +1.0 +3.2"
    assert points(None) == "-"
