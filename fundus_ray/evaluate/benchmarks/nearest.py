"""The option most like an answer: cosine of sentence embeddings, in FunBench's scorer those of all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fundus_ray.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fundus_ray.knowledge.embedding import Embedder


class NearestOption:
    """An opened sentence model; vectors of candidates are kept, since few different ones come up."""

    def __init__(self, model: str) -> None:
        """`model`: `minilm` or a folder. Raises ConfigError where there is no such model. Nothing is downloaded."""
        from fundus_ray.knowledge.embedding import Embedder

        try:
            self._embedder: Embedder = Embedder(model)
        except ConfigError as err:
            raise ConfigError(
                f"--sentence-model {model} cannot be opened: give a folder of all-MiniLM-L6-v2 (config.json, "
                "tokenizer.json, model.safetensors), or `minilm` with the extra `knowledge` installed"
            ) from err
        self._kept: dict[str, NDArray[np.float32]] = {}
        self.named = {"model": model, "files": self._embedder.fingerprint}  # two of one name may differ

    def __call__(self, text: str, candidates: Sequence[str]) -> int:
        """Place of the nearest candidate, the first of equals."""
        new = [c for c in dict.fromkeys(candidates) if c not in self._kept]
        if new:
            self._kept.update(zip(new, self._embedder.encode(new), strict=True))
        (vector,) = self._embedder.encode([text])
        return int(np.argmax(np.stack([self._kept[c] for c in candidates]) @ vector))
