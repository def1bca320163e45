"""Rendered images on disk: drawn once, then reused.

In: a folder whose name holds the key of its content, and a function from seed to pixels. Out: `<seed>.png` for each
seed. A folder is drawn beside its place and moved there when whole: one left by a killed run is never taken as whole.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fundus_ray.bars import Bar
from fundus_ray.errors import DataError


def content_key(**parts: int | str) -> str:
    """Twelve hex digits that change with any of the named parts."""
    text = "|".join(f"{name}={parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def view_seeds(run_seed: int, *, count: int, split: str) -> range:
    """Seeds of one half: even for "train", odd for "eval", so that no two halves meet, even across run seeds."""
    first = 2 * 1_000_000 * run_seed + (split == "eval")
    return range(first, first + 2 * count, 2)


def render_once(
    folder: Path, *, seeds: Sequence[int], draw: Callable[[int], NDArray[np.uint8]], label: str
) -> dict[int, Path]:
    """Seed -> PNG, drawn [H, W, 3] unless `folder` exists already. Raises DataError where it cannot be written."""
    if not folder.is_dir():
        try:
            _render(folder, seeds=seeds, draw=draw, label=label)
        except OSError as err:
            raise DataError(f"cache folder {folder} cannot be written: {err.strerror or err}") from None
    return {seed: folder / f"{seed}.png" for seed in seeds}


def render_halves(
    cache_dir: Path,
    name: str,
    *,
    version: int,
    image_px: int,
    seed: int,
    sizes: Mapping[str, int],
    draw: Callable[[int], NDArray[np.uint8]],
    label: str,
) -> Iterator[tuple[int, Path, str]]:
    """(image seed, PNG, split) of each image of both halves, `sizes` = {"train": n, "eval": m}; the PNGs are kept in
    `cache_dir`/NAME-KEY. Raises as `render_once`."""
    halves = {split: view_seeds(seed, count=n, split=split) for split, n in sizes.items()}
    key = content_key(version=version, image_px=image_px, seed=seed, **sizes)
    seeds = [one for half in halves.values() for one in half]
    paths = render_once(cache_dir / f"{name}-{key}", seeds=seeds, draw=draw, label=label)
    return ((one, paths[one], split) for split, half in halves.items() for one in half)


def _render(folder: Path, *, seeds: Sequence[int], draw: Callable[[int], NDArray[np.uint8]], label: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        part = Path(scratch) / "part"
        part.mkdir()
        for seed in Bar(seeds, desc=label, unit="image", mininterval=0.5):
            Image.fromarray(draw(seed)).save(part / f"{seed}.png", compress_level=1)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker: its folder holds the same images
                raise
