"""Parameters counted from config.json, against transformers' own network without weights, and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qwen_configs import QWEN_3B, QWEN_7B

from fundus_ray.doctor.shapes import indivisible, read_shape, shape_of
from fundus_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "billions"), [(QWEN_3B, 3.75), (QWEN_7B, 8.29)], ids=["Qwen2.5-VL-3B", "Qwen2.5-VL-7B"]
)
def test_parameters_are_those_of_transformers(config: dict[str, Any], billions: float, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(tmp_path))
    network.tie_weights()
    shape = read_shape(tmp_path)
    assert shape.parameters == sum(p.numel() for p in network.parameters())
    assert shape.parameters / 1e9 == pytest.approx(billions, abs=0.01)
    layer = network.model.language_model.layers[0]
    assert shape.layer_parameters == sum(p.numel() for p in layer.parameters())


def test_tiny_checkpoint_and_its_adapter_are_counted_as_they_are(tiny_policy: Path) -> None:
    from fundus_ray.policy.load import load_policy, with_adapter

    shape, policy = read_shape(tiny_policy), load_policy(tiny_policy)
    assert shape.parameters == sum(p.numel() for p in policy.network.parameters())
    adapted = with_adapter(policy, rank=8, alpha=16, seed=0)
    trained = [p for p in adapted.model.parameters() if p.requires_grad]
    assert shape.adapter_parameters(8) == sum(p.numel() for p in trained)


def test_sizes_under_text_config_count_as_those_at_the_top() -> None:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    nested = {key: value for key, value in QWEN_7B.items() if key not in (*names, "vocab_size")}
    nested["text_config"] = {key: QWEN_7B[key] for key in (*names, "vocab_size")}
    assert shape_of(nested) == shape_of(QWEN_7B)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "qwen3_vl"}, r"config\.json cannot be read .*model_type is 'qwen3_vl', not 'qwen2_5_vl'"),
        ({"num_hidden_layers": "many"}, r"config\.json cannot be read .*'many'"),
        ({"vision_config": None}, r"config\.json cannot be read"),
        ({"hidden_size": ...}, r"config\.json lacks hidden_size"),
    ],
)
def test_another_kind_of_model_is_refused_by_file_and_reason(change: Any, said: str, tmp_path: Path) -> None:
    config = {key: value for key, value in {**QWEN_3B, **change}.items() if value is not ...}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=said):
        read_shape(tmp_path)


def test_heads_that_do_not_divide_are_named() -> None:
    shape = shape_of(QWEN_7B)  # 28 heads, 4 for keys and values, 16 in the vision tower
    assert [list(indivisible(shape, ranks)) for ranks in (1, 2, 4)] == [[], [], []]
    assert list(indivisible(shape, 8)) == ["28 attention heads"]
    assert list(indivisible(shape, 3)) == [
        "28 attention heads",
        "4 key and value heads",
        "16 heads of the vision tower",
    ]
