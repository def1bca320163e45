from __future__ import annotations

import math
import pickle

import pytest

from fundus_ray.obs.metrics import Histogram, Max, Mean, Metrics, Sum


def test_means_merge_by_count_and_not_as_a_mean_of_means() -> None:
    left, right = Metrics(), Metrics()
    left.add("reward", Mean.of([1.0, 1.0, 1.0]))
    right.add("reward", Mean.of([0.0]))
    left.merge(right)
    assert left.flat() == {"reward": 0.75}


def test_a_masked_value_is_left_out_of_the_mean() -> None:
    metrics = Metrics()
    metrics.add("grounding", Mean.of([0.5, None]))
    metrics.add("consistency", Mean.of([None]))
    assert metrics.flat() == {"grounding": 0.5}


def test_sums_maxima_and_histograms_merge() -> None:
    left, right = Metrics(), Metrics()
    for metrics, dropped, lags in ((left, 2, [0, 1, 1]), (right, 3, [1, 2])):
        metrics.add("dropped", Sum(dropped))
        metrics.add("lag/max", Max(max(lags)))
        metrics.add("lag/hist", Histogram.of(lags))
    left.merge(pickle.loads(pickle.dumps(right)))
    assert left.flat() == {"dropped": 5, "lag/max": 2, "lag/hist_0": 1, "lag/hist_1": 3, "lag/hist_2": 1}


@pytest.mark.parametrize(("first", "second"), [(math.nan, 1.0), (1.0, math.nan)])
def test_nan_is_not_hidden_by_a_maximum(first: float, second: float) -> None:
    assert math.isnan(Max(first).merge(Max(second)).value)


def test_a_name_cannot_change_its_kind() -> None:
    metrics = Metrics()
    metrics.add("loss", Mean.of([1.0]))
    with pytest.raises(TypeError, match="loss is a Mean; a Sum cannot"):
        metrics.add("loss", Sum(1))
