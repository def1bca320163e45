"""What the frozen vision tower makes of images, kept across updates, epochs and versions.

In: image references. Out: their features, encoded only where they are not in the cache. RL trains the language model's
adapter alone, so an image has the same embeddings under every policy version.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fundus_ray.policy.logprobs import ImageFeatures
from fundus_ray.types import ImageRef


class ImageCache:
    """Least recently used embeddings go once the cache holds more than `max_bytes`; 0 keeps nothing.

    Keyed by the sha256 of the image's file. Embeddings lie in the machine's memory, not the GPU's, which is for the
    update.
    """

    def __init__(self, encode: Callable[[Sequence[ImageRef]], ImageFeatures], *, max_bytes: int) -> None:
        self._encode = encode
        self._max_bytes = max_bytes
        self._device = torch.device("cpu")  # until the first image is encoded
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()  # [tokens, H], [3]
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def holds(self, sha256: str) -> bool:
        """Whether the image need not be read to be used."""
        return sha256 in self._kept

    def features(self, images: Sequence[ImageRef]) -> ImageFeatures:
        """The features of these images, in order, on the device that `encode` puts them on."""
        missing = {ref.sha256: ref for ref in images if ref.sha256 not in self._kept}
        self.misses += len(missing)
        self.hits += len(images) - len(missing)
        new: dict[str, tuple[Tensor, Tensor]] = {}
        if missing:
            made = self._encode(list(missing.values()))
            self._device = made.embeddings[0].device
            new = dict(zip(missing, zip(made.embeddings, made.grids, strict=True), strict=True))
        found = [new.get(ref.sha256) or self._take(ref.sha256) for ref in images]
        for key, (embeddings, grid) in new.items():
            self._keep(key, embeddings, grid)
        return ImageFeatures(tuple(e for e, _ in found), torch.stack([grid for _, grid in found]))

    def _take(self, key: str) -> tuple[Tensor, Tensor]:
        self._kept.move_to_end(key)
        embeddings, grid = self._kept[key]
        return embeddings.to(self._device), grid

    def _keep(self, key: str, embeddings: Tensor, grid: Tensor) -> None:
        # A copy: an image's share of a batch's output would keep the whole of it alive.
        own = embeddings.detach().to("cpu", copy=True)
        self._kept[key] = own, grid
        self.bytes += own.nbytes
        while self.bytes > self._max_bytes:
            _, (oldest, _) = self._kept.popitem(last=False)
            self.bytes -= oldest.nbytes
