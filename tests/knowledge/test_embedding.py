"""Sentence embeddings are unit vectors, nearer for nearer meanings, and the model is named by its content."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.embedding import Embedder, model_folder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("minilm")


def test_vectors_are_the_normalised_mean_over_a_texts_own_tokens(embedder: Embedder) -> None:
    texts = ["drusen", "soft yellow deposits beneath the retinal pigment epithelium of an older person"]
    vectors = embedder.encode(texts)
    folder = str(model_folder("minilm"))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    for text, vector in zip(texts, vectors, strict=True):  # one at a time: no padding
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_nearer_meanings_have_nearer_vectors(embedder: Embedder) -> None:
    eye, same, other = embedder.encode(["bleeding inside the eye", "vitreous haemorrhage", "the price of wheat"])
    assert eye @ same > eye @ other


def test_no_text_gives_no_vectors(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 384)


def test_the_fingerprint_is_that_of_the_files_wherever_they_lie(embedder: Embedder, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_folder("minilm"), copy)
    assert Embedder(str(copy)).fingerprint == embedder.fingerprint
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + "\n")
    assert Embedder(str(copy)).fingerprint != embedder.fingerprint


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"knowledge.embeddings={tmp_path}: .*no config.json.*`minilm`"):
        Embedder(str(tmp_path))
