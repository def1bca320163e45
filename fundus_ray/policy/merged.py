"""Base weights with an adapter added in, as a checkpoint that transformers and vLLM load.

In: the folders of both. Out: a folder with the network's safetensors, its configuration, tokenizer and processor.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from fundus_ray.errors import DataError
from fundus_ray.policy.load import load_policy
from fundus_ray.policy.stored_adapter import shapes_of


def write_merged(base: Path, adapter: Path, *, to: Path, dtype: str) -> None:
    """W + (alpha / rank) B A of every layer that has an adapter, rounded once to `dtype`.

    Raises ConfigError where the base weights are no Qwen2.5-VL, DataError where a sum is not finite.
    """
    policy = load_policy(base, dtype=dtype)
    wrapped = PeftModel.from_pretrained(policy.network, str(adapter), local_files_only=True)
    for name, layer in wrapped.named_modules():
        if isinstance(layer, LoraLayer):
            # PEFT's own merging rounds the product to the weights' precision before it adds it.
            weight = layer.get_base_layer().weight
            found = weight.data.float() + layer.get_delta_weight(wrapped.active_adapter).float()
            if not torch.isfinite(found).all():
                raise DataError(f"{adapter} cannot be merged into {base}: {name} would hold NaN or infinity")
            weight.data = found.to(weight.dtype)
    network = wrapped.unload()
    network.save_pretrained(to)
    policy.processor.save_pretrained(to)


def merged_bytes(base: Path, *, dtype: str) -> int:
    """What the merged weights will take on the disk."""
    size = getattr(torch, dtype).itemsize
    files = sorted(base.glob("*.safetensors"))
    return sum(prod(shape) * size for path in files for shape in shapes_of(path).values())
