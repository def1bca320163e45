"""The punishment of long answers, by DAPO's equation 13."""

from __future__ import annotations

import numpy as np

from fundus_ray.learner.overlong import overlong_penalty


def test_penalty_falls_in_a_line_over_the_last_tokens() -> None:
    # max 64, last 16: free up to 48; 52 is a quarter of the way, 64 all of it.
    lengths = np.array([1, 48, 49, 52, 56, 64])
    got = overlong_penalty(lengths, max_tokens=64, overlong_tokens=16)
    assert got.tolist() == [0.0, 0.0, -1 / 16, -0.25, -0.5, -1.0]


def test_no_overlong_tokens_punish_nothing() -> None:
    assert overlong_penalty(np.array([1, 64]), max_tokens=64, overlong_tokens=0).tolist() == [0.0, 0.0]
