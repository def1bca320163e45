"""What the script that repeats rollouts counts as different."""

from __future__ import annotations

from repeat_rollouts import COMPARED, ENGINES, PASSES, gap, report


def test_logprobs_are_compared_as_far_as_the_tokens_are_equal() -> None:
    one = [((1, 2, 3), (-0.5, -0.25, -1.0)), ((4,), (-2.0,))]
    other = [((1, 2, 9), (-0.5, -0.375, -8.0)), ((4,), (-2.0,))]
    assert gap(one, other) == "0.1"
    assert gap(one, one) == "0"


def test_the_table_counts_rollouts_whose_tokens_differ() -> None:
    same = {name: [((1, 2), (-1.0, -1.0)), ((3,), (-1.0,))] for name in PASSES}
    mixed = {**same, "mixed": [((1, 5), (-1.0, -1.0)), ((3,), (-1.0,))]}
    column = {"one": mixed, "new": same, "uncached": same}
    text = report({"float32": column, "bfloat16": dict.fromkeys(ENGINES, same)})
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| ")}
    assert {said for said, _, _ in COMPARED} <= rows.keys()
    assert "| 1 of 2 | 0 | 0 of 2 | 0 |" in rows["mixed, against alone"]
    assert "| 0 of 2 | 0 | 0 of 2 | 0 |" in rows["all at once, against alone"]
    assert "3 tokens" in text
