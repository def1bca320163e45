"""Adapters as they lie on the disk, against the base weights that they are to be put on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fundus_ray.errors import ConfigError, DataError, DeliveryError
from fundus_ray.policy.adapter import publish, write_files
from fundus_ray.policy.load import load_policy, with_adapter
from fundus_ray.policy.stored_adapter import read_adapter

Q, UP = "self_attn.q_proj", "mlp.up_proj"


def write_base(folder: Path, *, width: int = 16) -> Path:
    """Two layers of a language model, as an older version of transformers names them."""
    folder.mkdir()
    shapes = {Q: (width, width), UP: (40, width)}
    weights = {
        f"model.layers.{i}.{name}.weight": np.zeros(shape, np.float32) for i in (0, 1) for name, shape in shapes.items()
    }
    save_file(weights, folder / "model-00001-of-00001.safetensors")
    return folder


def write_adapter(folder: Path, *, rank: int = 4, width: int = 16, layer: int = 0, **config: Any) -> Path:
    folder.mkdir()
    prefix = f"base_model.model.model.language_model.layers.{layer}"
    weights = {}
    for name, out in ((Q, width), (UP, 40)):
        weights[f"{prefix}.{name}.lora_A.weight"] = np.zeros((rank, width), np.float32)
        weights[f"{prefix}.{name}.lora_B.weight"] = np.zeros((out, rank), np.float32)
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 8, **config}))
    return folder


def test_an_adapter_of_peft_is_taken_whatever_stands_before_the_layers_names(tmp_path: Path) -> None:
    found = read_adapter(write_adapter(tmp_path / "a"), base=write_base(tmp_path / "b"))
    assert (found.folder, found.rank, found.engine_rank) == (str(tmp_path / "a"), 4, 8)
    assert found.probe_token_ids == ()
    assert len(found.sha256) == 64


def test_the_largest_rank_of_its_modules_counts(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a", rank_pattern={"up_proj": 33})
    assert read_adapter(adapter, base=write_base(tmp_path / "b")).engine_rank == 64


@pytest.mark.parametrize("rank", [0, 513])
def test_a_rank_beyond_the_engines_is_refused(tmp_path: Path, rank: int) -> None:
    adapter = write_adapter(tmp_path / "a", rank_pattern={}, r=rank)
    with pytest.raises(ConfigError, match=f"rank {rank} is not allowed: vLLM takes 1 to 512"):
        read_adapter(adapter, base=write_base(tmp_path / "b"))


@pytest.mark.parametrize(("width", "layer"), [(24, 0), (16, 2)])
def test_an_adapter_of_other_base_weights_is_refused(tmp_path: Path, width: int, layer: int) -> None:
    adapter = write_adapter(tmp_path / "a", width=width, layer=layer)
    with pytest.raises(ConfigError, match=rf"belongs to other base weights than .*layers\.{layer}\."):
        read_adapter(adapter, base=write_base(tmp_path / "b"))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    base, adapter = write_base(tmp_path / "b"), write_adapter(tmp_path / "a")
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(DataError, match=r"adapter_model\.safetensors cannot be read"):
        read_adapter(adapter, base=base)
    weights.unlink()
    with pytest.raises(DataError, match=r"adapter_model\.safetensors cannot be read"):
        read_adapter(adapter, base=base)
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(DataError, match=r"adapter_config\.json is not the configuration of a LoRA adapter"):
        read_adapter(adapter, base=base)


def test_a_published_adapter_brings_its_proof_and_one_that_was_changed_is_refused(
    tmp_path: Path, tiny_policy: Path
) -> None:
    policy = with_adapter(load_policy(tiny_policy), rank=8, alpha=16, seed=0)
    published = publish(policy, step=3)
    write_files(published, tmp_path / "a")
    found = read_adapter(tmp_path / "a", base=tiny_policy)
    assert (found.rank, found.sha256) == (8, published.version.sha256)
    assert found.probe_token_ids == published.probe_token_ids
    assert found.probe_logprobs == pytest.approx(published.probe_logprobs)
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(DeliveryError, match="differs from the published"):
        read_adapter(tmp_path / "a", base=tiny_policy)
