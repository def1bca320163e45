"""Four ways to make one number of three terms and one, by hand."""

from __future__ import annotations

import pytest
import torch

from fundus_ray.learner.aggregation import (
    Aggregation,
    BatchTotals,
    constant_mean,
    sequence_mean,
    sequence_sum,
    token_mean,
)

TERMS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 99.0, 99.0]])
MASK = torch.tensor([[True, True, True], [True, False, False]])
TOTALS = BatchTotals(tokens=4, sequences=2, max_tokens=10)
ALL = (token_mean, sequence_mean, sequence_sum, constant_mean)


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        (token_mean, 10 / 4),
        (sequence_mean, (2 + 4) / 2),
        (sequence_sum, (6 + 4) / 2),
        (constant_mean, (0.6 + 0.4) / 2),
    ],
)
def test_value(aggregation: Aggregation, value: float) -> None:
    assert aggregation(TERMS, MASK, TOTALS).item() == pytest.approx(value)


@pytest.mark.parametrize("aggregation", ALL)
def test_rows_apart_add_up_to_the_whole(aggregation: Aggregation) -> None:
    parts = [aggregation(TERMS[i : i + 1], MASK[i : i + 1], TOTALS) for i in range(2)]
    assert sum(p.item() for p in parts) == pytest.approx(aggregation(TERMS, MASK, TOTALS).item())


@pytest.mark.parametrize("aggregation", ALL)
def test_row_without_tokens_adds_nothing(aggregation: Aggregation) -> None:
    assert aggregation(TERMS, torch.zeros_like(MASK), TOTALS).item() == 0.0
