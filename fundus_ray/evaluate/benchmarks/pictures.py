"""A benchmark's images as a model is to see them.

In: a benchmark's questions and where its files lie. Out: an image file for each name of an image, and `AskedImage`,
which a worker turns into pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fundus_ray.data.images import pixels_at
from fundus_ray.evaluate.benchmarks import funbench, gmai
from fundus_ray.evaluate.benchmarks.question import Benchmark

GREY = (128, 128, 128)
FUNBENCH_PX = 224  # side that FunBench's own predict.py scales every image to


@dataclass(frozen=True, slots=True)
class AskedImage:
    """px: side of the square [px] that it is scaled to, 0 = it stays; `grey`: a grey one of its size instead."""

    path: str
    px: int = 0
    grey: bool = False

    def pixels(self) -> Image.Image:
        """RGB. Raises DataError where the file is missing or damaged, also where it is not shown."""
        image = pixels_at(self.path)
        if self.px:
            image = image.resize((self.px, self.px), Image.Resampling.BICUBIC)
        return Image.new("RGB", image.size, GREY) if self.grey else image


def usual_px(benchmark: str) -> int:
    """What images are scaled to where nothing else is asked for."""
    return FUNBENCH_PX if benchmark == funbench.NAME else 0


def image_files(benchmark: Benchmark, *, root: Path, images: Path | None, unpacked: Path) -> dict[str, Path]:
    """Question.image -> its file, which may be missing. `images`: their folder, None = `root`; those inside tables are
    written into `unpacked` once, by their hash. Raises DataError where a table's image is not base64."""
    questions = [question for file in benchmark.files for question in file.questions]
    if benchmark.name != gmai.NAME:
        return {question.image: (images or root) / question.image for question in questions}
    for file in benchmark.files:
        _unpack(root / file.path, wanted={question.content for question in file.questions}, unpacked=unpacked)
    return {question.image: unpacked / question.content for question in questions}


def _unpack(table: Path, *, wanted: Iterable[str], unpacked: Path) -> None:
    missing = {name for name in wanted if not (unpacked / name).is_file()}
    if not missing:
        return
    unpacked.mkdir(parents=True, exist_ok=True)
    for name, content in gmai.images(table):
        if name in missing:
            part = unpacked / f".{name}.part"
            part.write_bytes(content)
            part.replace(unpacked / name)
