"""The endless training order."""

from __future__ import annotations

import pytest

from fundus_ray.data.order import sample_at
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef, Modality, Sample


def make_samples(count: int) -> list[Sample]:
    image = ImageRef("x.png", "0", 1, 1)
    return [Sample(f"s{i}", image, Modality.CFP, "?", (), ("a",), "t", "src", "train", f"p{i}") for i in range(count)]


def ids(samples: list[Sample], groups: range, seed: int = 0) -> list[str]:
    return [sample_at(samples, seed=seed, group_id=group).id for group in groups]


def test_every_epoch_holds_each_sample_once() -> None:
    samples = make_samples(13)
    for epoch in range(4):
        drawn = ids(samples, range(13 * epoch, 13 * (epoch + 1)))
        assert sorted(drawn) == sorted(sample.id for sample in samples)


def test_each_epoch_has_an_order_of_its_own() -> None:
    samples = make_samples(13)
    assert ids(samples, range(13)) != ids(samples, range(13, 26))


def test_seeds_give_different_orders() -> None:
    samples = make_samples(13)
    assert ids(samples, range(13), seed=0) != ids(samples, range(13), seed=1)


def test_access_at_random_gives_what_going_through_gives() -> None:
    samples = make_samples(7)
    through = ids(samples, range(70))
    for group in [69, 0, 33, 8, 62, 33, 1, 50]:
        assert sample_at(samples, seed=0, group_id=group).id == through[group]


def test_a_single_sample_repeats() -> None:
    assert ids(make_samples(1), range(3)) == ["s0", "s0", "s0"]


def test_no_samples_is_an_error() -> None:
    with pytest.raises(DataError, match="no training samples"):
        sample_at([], seed=0, group_id=0)
