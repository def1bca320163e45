"""Both halves of the rendered images: a training half in the form of an import, and a benchmark of the held-out half.

In: a folder, kinds, sizes, a seed. Out: FOLDER/<source>.jsonl and FOLDER/train/ for training, FOLDER/benchmark/ with
images and FunBench's task files. No seed is in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fundus_ray.data.cache import view_seeds
from fundus_ray.data.labelled import Labelled, Space
from fundus_ray.data.rendered.benchmark import write_benchmark
from fundus_ray.data.rendered.kinds import kind_of
from fundus_ray.data.rendered.rows import ROWS, labelled_phantoms
from fundus_ray.errors import DataError

TRAIN, BENCHMARK = "train", "benchmark"


@dataclass(frozen=True, slots=True)
class WrittenSets:
    """imports: a JSONL for each kind, as `fundus-ray data import` writes it; questions: how many each task file has."""

    imports: tuple[Path, ...]
    benchmark: Path | None
    questions: Mapping[str, int]


def write_sets(
    folder: Path,
    *,
    kinds: Sequence[str],
    train: int,
    held_out: int,
    image_px: int,
    seed: int,
    option_order: str = "given",
) -> WrittenSets:
    """Draw `train` and `held_out` pictures of each kind; 0 leaves that half out. option_order: of the benchmark.

    Raises DataError for an unknown kind, a negative number, an empty request, or a folder that cannot be written or
    holds other pictures.
    """
    if min(train, held_out, seed) < 0:
        raise DataError(f"sizes and seed must be 0 or more, not train {train}, held-out {held_out}, seed {seed}")
    if not train + held_out or not kinds:
        raise DataError(f"nothing to draw: {len(kinds)} kinds, {train} images for training, {held_out} held out")
    chosen = [kind_of(name) for name in dict.fromkeys(kinds)]
    imports: list[Path] = []
    images: list[tuple[Labelled, Space]] = []
    for kind in chosen:
        if train:
            seeds = view_seeds(seed, count=train, split="train")
            labelled_phantoms(folder / TRAIN, kind, seeds=seeds, image_px=image_px, official_split="train")
            imports.append(folder / f"{kind.source}.jsonl")
            imports[-1].write_bytes((folder / TRAIN / kind.source / ROWS).read_bytes())
        if held_out:
            seeds = view_seeds(seed, count=held_out, split="eval")
            rows = labelled_phantoms(folder / BENCHMARK, kind, seeds=seeds, image_px=image_px, official_split="test")
            images += [(row, kind.space) for row in rows]
    written = write_benchmark(folder / BENCHMARK, images, seed=seed, option_order=option_order) if images else {}
    return WrittenSets(tuple(imports), folder / BENCHMARK if images else None, written)
