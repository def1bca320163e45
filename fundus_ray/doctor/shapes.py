"""The sizes of a Qwen2.5-VL network, and how many parameters follow from them.

In: the checkpoint's config.json. Out: `Shape`. No PyTorch, no weights: arithmetic on a text file.

Notation of the docstrings: H hidden size, I width of the MLP, A heads, Q key and value heads, D size of a head,
L layers, V vocabulary, r rank; of the vision tower h, i, l.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_ray.errors import ConfigError

MODEL_TYPE = "qwen2_5_vl"


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The vision tower and the merger behind it."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    patch_numbers: int  # of one patch: channels x frames x side x side
    merged: int  # patches that become one token

    def parameters(self, out: int) -> int:
        """Patch embedding, l blocks of (qkv, output, gate, up, down, all with bias, two norms), merger to `out`:
        n h + l (4 h h + 3 h i + 7 h + 2 i) + (m h + 1) m h + (m h + 1) out + h, for n numbers a patch and m patches a
        token."""
        h, i, wide = self.hidden, self.intermediate, self.merged * self.hidden
        block = 4 * h * h + 3 * h * i + 7 * h + 2 * i
        return self.patch_numbers * h + self.layers * block + (wide + 1) * wide + (wide + 1) * out + h


@dataclass(frozen=True, slots=True)
class Linear:
    """One adapted linear layer of a decoder layer. `split`: which side tensor parallelism cuts."""

    inputs: int
    outputs: int
    split: str  # "outputs" | "inputs"


@dataclass(frozen=True, slots=True)
class Shape:
    """The whole network."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    vision: VisionShape

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Those that the adapter is put on: q, k, v, o, gate, up, down of one decoder layer."""
        wide, narrow = self.heads * self.head, self.kv_heads * self.head
        return (
            Linear(self.hidden, wide, "outputs"),
            Linear(self.hidden, narrow, "outputs"),
            Linear(self.hidden, narrow, "outputs"),
            Linear(wide, self.hidden, "inputs"),
            Linear(self.hidden, self.intermediate, "outputs"),
            Linear(self.hidden, self.intermediate, "outputs"),
            Linear(self.intermediate, self.hidden, "inputs"),
        )

    @property
    def layer_parameters(self) -> int:
        """Of one decoder layer: its linear layers, the biases of q, k and v, two norms:
        (2 A + 2 Q) D H + 3 H I + (A + 2 Q) D + 2 H."""
        biases = (self.heads + 2 * self.kv_heads) * self.head
        return sum(one.inputs * one.outputs for one in self.linears) + biases + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """V H, twice where the output embedding is its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All: embeddings, L decoder layers, the last norm, the vision tower."""
        text = self.embedding_parameters + self.layers * self.layer_parameters + self.hidden
        return text + self.vision.parameters(self.hidden)

    def adapter_parameters(self, rank: int) -> int:
        """L x the sum over the adapted layers of r (inputs + outputs)."""
        return self.layers * rank * sum(one.inputs + one.outputs for one in self.linears)


def read_shape(folder: str | Path) -> Shape:
    """Of the checkpoint in `folder`. Raises ConfigError where its config.json is not that of a Qwen2.5-VL."""
    path = Path(folder) / "config.json"
    try:
        content = json.loads(path.read_text())
        return shape_of(content)
    except KeyError as err:
        raise ConfigError(f"{path} lacks {err.args[0]}, which every Qwen2.5-VL checkpoint has") from None
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise ConfigError(f"{path} cannot be read as a Qwen2.5-VL's: {' '.join(str(err).split())}") from None


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Of a config.json's content: sizes of the language model at the top, or under `text_config`. Raises KeyError for
    one that is missing, ValueError for another kind of model."""
    if config.get("model_type") != MODEL_TYPE:
        raise ValueError(f"model_type is {config.get('model_type')!r}, not {MODEL_TYPE!r}")
    text: Mapping[str, Any] = {**config, **config.get("text_config", {})}
    seen: Mapping[str, Any] = config["vision_config"]
    heads = int(text["num_attention_heads"])
    side, frames = int(seen.get("patch_size", 14)), int(seen.get("temporal_patch_size", 2))
    return Shape(
        hidden=int(text["hidden_size"]),
        intermediate=int(text["intermediate_size"]),
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(text["num_key_value_heads"]),
        head=int(text.get("head_dim") or int(text["hidden_size"]) // heads),
        vocabulary=int(text["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision=VisionShape(
            hidden=int(seen["hidden_size"]),
            intermediate=int(seen.get("intermediate_size", 3420)),
            layers=int(seen.get("depth", 32)),
            heads=int(seen.get("num_heads", 16)),
            patch_numbers=int(seen.get("in_channels", seen.get("in_chans", 3))) * frames * side * side,
            merged=int(seen.get("spatial_merge_size", 2)) ** 2,
        ),
    )


def indivisible(shape: Shape, ranks: int) -> Iterator[str]:
    """What of the network `ranks` GPUs cannot share evenly, as vLLM's tensor parallelism must."""
    if shape.heads % ranks:
        yield f"{shape.heads} attention heads"
    if shape.kv_heads % ranks and ranks % shape.kv_heads:
        yield f"{shape.kv_heads} key and value heads"
    if shape.vision.heads % ranks:
        yield f"{shape.vision.heads} heads of the vision tower"
