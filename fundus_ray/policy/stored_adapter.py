"""A LoRA adapter in a folder, to be answered under as it is: one that was published here, or any of PEFT's.

In: a folder with adapter_config.json and adapter_model.safetensors, and the folder of its base weights. Out:
`StoredAdapter`, which an engine takes, after the files were compared with the base weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fundus_ray.config.policy import VLLM_LORA_RANKS
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.policy.adapter import COMPLETE_FILE, CONFIG_FILE, WEIGHTS_FILE, load_published, sha256_of

_PART = re.compile(r"(?:layers|blocks)\.\d+\..*")  # a module's name from its layer on; what stands before it varies
_HALF = re.compile(r"(.*)\.lora_([AB])\.(?:[^.]+\.)?weight")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """What an engine needs of it. Without a probe (`probe_token_ids` empty) its effect cannot be proven."""

    folder: str
    rank: int
    sha256: str  # over its files
    probe_token_ids: tuple[int, ...] = ()
    probe_logprobs: tuple[float, ...] = ()  # the learner's own, of probe tokens 1..

    @property
    def engine_rank(self) -> int:
        """vLLM's max_lora_rank: the smallest that it accepts for this one."""
        return next(rank for rank in VLLM_LORA_RANKS if rank >= self.rank)


def read_adapter(folder: Path, *, base: Path) -> StoredAdapter:
    """The adapter, whose shapes fit the base weights.

    Raises DataError where a file is missing or damaged, DeliveryError where published files disagree with their hash,
    ConfigError where its rank is beyond vLLM's or it belongs to other base weights.
    """
    rank = _rank(folder / CONFIG_FILE)
    _check_shapes(shapes_of(folder / WEIGHTS_FILE), folder=folder, base=base)
    where = str(folder.resolve())
    if (folder / COMPLETE_FILE).is_file():
        published = load_published(folder)
        return StoredAdapter(where, rank, published.version.sha256, published.probe_token_ids, published.probe_logprobs)
    return StoredAdapter(where, rank, sha256_of({n: (folder / n).read_bytes() for n in (CONFIG_FILE, WEIGHTS_FILE)}))


def _rank(path: Path) -> int:
    """The largest of its modules."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        ranks = [int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise DataError(f"{path} is not the configuration of a LoRA adapter (of PEFT): {err!r}") from None
    if not 1 <= max(ranks) <= VLLM_LORA_RANKS[-1]:
        raise ConfigError(f"{path}: rank {max(ranks)} is not allowed: vLLM takes 1 to {VLLM_LORA_RANKS[-1]}")
    return max(ranks)


def _check_shapes(adapter: Shapes, *, folder: Path, base: Path) -> None:
    """Each A [r, in] and B [out, r] against a weight [out, in] of the same layer and module. Base weights that are no
    safetensors are not looked at: vLLM says then what does not fit."""
    weights: dict[str, list[tuple[int, ...]]] = {}
    for path in sorted(base.glob("*.safetensors")):
        for name, shape in shapes_of(path).items():
            for part in _parts(name.removesuffix(".weight")):
                weights.setdefault(part, []).append(shape)
    if not weights:
        return
    for name, shape in adapter.items():
        half = _HALF.fullmatch(name)
        if half is None or len(shape) != 2:
            continue
        module, side = half.groups()
        place, width = (1, shape[1]) if side == "A" else (0, shape[0])
        there = [w for part in _parts(module) for w in weights.get(part, [])]
        if not any(len(w) > place and w[place] == width for w in there):
            found = f"is {there[0]} there" if there else "is not there"
            raise ConfigError(
                f"--adapter {folder} belongs to other base weights than {base}: {module} {found}, but {name} is {shape}"
            )


def _parts(name: str) -> Iterator[str]:
    """layers.0.self_attn.q_proj; nothing for a weight outside of the layers."""
    if match := _PART.search(name):
        yield match.group()


def shapes_of(path: Path) -> Shapes:
    """Of the header alone. Raises DataError where the file is missing or none of safetensors'."""
    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as err:
        raise DataError(f"{path} cannot be read: {' '.join(str(err).split())}") from None
