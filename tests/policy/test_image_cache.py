"""An image is encoded once, as long as its embeddings fit the cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fundus_ray.policy.image_cache import ImageCache
from fundus_ray.policy.logprobs import ImageFeatures
from fundus_ray.types import ImageRef

BYTES = 2 * 3 * 4  # two tokens of three float32 numbers


class Tower:
    """Makes of image "7" two tokens of three sevens, and counts."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, images: Sequence[ImageRef]) -> ImageFeatures:
        self.asked.append([ref.sha256 for ref in images])
        values = [float(ref.sha256) for ref in images]
        return ImageFeatures(
            tuple(torch.full((2, 3), v) for v in values), torch.tensor([[1, 2, int(v)] for v in values])
        )


def refs(*names: str) -> list[ImageRef]:
    return [ImageRef(path=f"{name}.png", sha256=name, width_px=28, height_px=28) for name in names]


def test_images_are_encoded_once_and_come_in_the_order_asked_for() -> None:
    tower = Tower()
    cache = ImageCache(tower, max_bytes=10 * BYTES)
    cache.features(refs("1", "2"))
    found = cache.features(refs("3", "2", "1", "3"))
    assert tower.asked == [["1", "2"], ["3"]]
    assert [float(e[0, 0]) for e in found.embeddings] == [3, 2, 1, 3]
    assert found.grids.tolist() == [[1, 2, 3], [1, 2, 2], [1, 2, 1], [1, 2, 3]]
    assert (cache.hits, cache.misses, cache.bytes) == (3, 3, 3 * BYTES)


def test_the_least_recently_used_goes_first() -> None:
    tower = Tower()
    cache = ImageCache(tower, max_bytes=2 * BYTES + 1)
    cache.features(refs("1", "2"))
    cache.features(refs("1"))
    cache.features(refs("3"))  # 2 must go
    assert cache.bytes == 2 * BYTES
    cache.features(refs("1", "3"))
    assert tower.asked == [["1", "2"], ["3"]]
    cache.features(refs("2"))
    assert tower.asked[-1] == ["2"]


def test_a_cache_too_small_for_one_pass_still_gives_all_of_it() -> None:
    tower = Tower()
    for max_bytes in (0, BYTES):
        cache = ImageCache(tower, max_bytes=max_bytes)
        for _ in range(2):
            assert [float(e[0, 0]) for e in cache.features(refs("1", "2", "3")).embeddings] == [1, 2, 3]
        assert cache.bytes == max_bytes
