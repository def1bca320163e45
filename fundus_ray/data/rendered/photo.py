"""Views of one real fundus photograph, with labels that geometry alone makes true.

In: scikit-image's `retina.jpg` (a healthy left eye, by M. Haggstrom, CC0), read from the installed package; a seed.
Out: `Sample`s of two tasks: laterality (a mirrored view is a right eye's) and the structure in the centre of a crop.

All views come from ONE eye: "held out" means views that were not trained on, not other patients. Each view carries an
id of its own as patient id, as there is no second patient to hold out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fundus_ray.data.cache import content_key, render_halves, render_once
from fundus_ray.data.images import image_ref
from fundus_ray.data.rendered.phantoms import DISEASES, QUESTION
from fundus_ray.errors import DataError
from fundus_ray.types import Modality, Sample

VIEWS_VERSION = 1  # part of the cache key: raise it whenever a view of any seed changes

# Measured by hand on the photograph: (x, y) from its top left corner, in shares of its width and height.
FIELD_CENTRE, FIELD_RADIUS = (0.4995, 0.4985), 0.4925
STRUCTURES: dict[str, tuple[tuple[float, float], ...]] = {
    "optic disc": ((0.155, 0.461),),
    "macula": ((0.503, 0.496),),
    "vascular arcade": ((0.445, 0.232), (0.600, 0.303), (0.720, 0.275), (0.480, 0.868), (0.640, 0.867), (0.360, 0.858)),
}
FINDING_OF = {
    "left eye": "disc_on_left",
    "right eye": "disc_on_right",
    "optic disc": "disc_in_centre",
    "macula": "macula_in_centre",
    "vascular arcade": "arcade_in_centre",
}
QUESTIONS = {
    "laterality": "Is this a right eye or a left eye?",
    "structure": "Which structure lies in the centre of this image?",
}


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera looks, and the label that follows from it. Lengths are shares of the photograph's side."""

    task: str  # "laterality" | "structure"
    answer: str
    centre: tuple[float, float]
    half_side: float
    degrees: float  # clockwise
    mirrored: bool
    upside_down: bool


def draw_view(seed: int) -> View:
    """The view of `seed`: either task with the same chance, then each answer with the same chance."""
    rng = np.random.default_rng([seed, 0])
    degrees, mirrored = rng.uniform(-20, 20), bool(rng.random() < 0.5)
    if rng.random() < 0.5:
        answer = "right eye" if mirrored else "left eye"
        x, y = FIELD_CENTRE + rng.uniform(-0.03, 0.03, 2)
        return View("laterality", answer, (x, y), rng.uniform(0.45, 0.52), degrees, mirrored, upside_down=False)
    answer = list(STRUCTURES)[rng.integers(len(STRUCTURES))]
    places = STRUCTURES[answer]
    x, y = places[rng.integers(len(places))] + rng.uniform(-0.02, 0.02, 2)
    return View("structure", answer, (x, y), rng.uniform(0.14, 0.2), degrees, mirrored, bool(rng.random() < 0.5))


def render_view(seed: int, *, image_px: int) -> NDArray[np.uint8]:
    """Pixels [image_px, image_px, 3] of the view of `seed`, with its own colour, blur and noise."""
    rng = np.random.default_rng([seed, 1])
    image = cut(draw_view(seed), image_px=image_px)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8) * image_px / 112))
    light = (np.asarray(image, dtype=np.float32) / 255) ** rng.uniform(0.85, 1.25)
    light = light * rng.uniform(0.85, 1.1, 3) + rng.normal(0, rng.uniform(0, 0.015), light.shape)
    return np.asarray(np.clip(light, 0, 1) * 255, dtype=np.uint8)


def photo_samples(cache_dir: Path, *, image_px: int, seed: int, sizes: Mapping[str, int]) -> tuple[Sample, ...]:
    """Views of both halves, `sizes` = {"train": n, "eval": m}; PNGs are kept in `cache_dir`/photo-KEY.

    Raises DataError where the photograph is not installed or the cache cannot be written.
    """
    drawn = render_halves(
        cache_dir,
        "photo",
        version=VIEWS_VERSION,
        image_px=image_px,
        seed=seed,
        sizes=sizes,
        draw=lambda one: render_view(one, image_px=image_px),
        label="rendering views",
    )
    return tuple(_sample(one, path=path, split=split) for one, path, split in drawn)


def photograph(cache_dir: Path, *, image_px: int, task: str) -> Sample:
    """The photograph itself, cut to its field, with the question of `task`: "diagnosis", which is the phantoms' (a
    reading outside their training data), or "laterality".

    Its findings are None: nobody annotated it. The answers rest on the author's caption ("normal left eye").
    """
    question, options, answer = {
        "diagnosis": (QUESTION, DISEASES, "normal"),
        "laterality": (QUESTIONS["laterality"], ("left eye", "right eye"), "left eye"),
    }[task]
    view = View(task, answer, FIELD_CENTRE, FIELD_RADIUS, 0.0, mirrored=False, upside_down=False)
    paths = render_once(
        cache_dir / f"photograph-{content_key(version=VIEWS_VERSION, image_px=image_px)}",
        seeds=[0],
        draw=lambda _: np.asarray(cut(view, image_px=image_px)),
        label="cutting the photograph",
    )
    return Sample(
        id="skimage-retina",
        image=image_ref(paths[0]),
        modality=Modality.CFP,
        question=question,
        options=options,
        answer=(answer,),
        task=task,
        source="skimage-retina",
        split="eval",
        patient_id="skimage-retina",
    )


def _sample(seed: int, *, path: Path, split: str) -> Sample:
    view = draw_view(seed)
    options = ["right eye", "left eye"] if view.task == "laterality" else list(STRUCTURES)
    order = np.random.default_rng([seed, 2]).permutation(len(options))
    return Sample(
        id=f"photo-{seed}",
        image=image_ref(path),
        modality=Modality.CFP,
        question=QUESTIONS[view.task],
        options=tuple(options[i] for i in order),
        answer=(view.answer,),
        task=view.task,
        source="photo",
        split=split,
        patient_id=f"view-{seed}",
        findings=(FINDING_OF[view.answer],),
    )


def cut(view: View, *, image_px: int) -> Image.Image:
    """The view's pixels, sampled at a multiple of `image_px` and averaged down."""
    source = _photo()
    factor = 4 if image_px <= 224 else 2
    side = image_px * factor
    step = 2 * view.half_side * source.width / side
    across, down = -step if view.mirrored else step, -step if view.upside_down else step
    cos, sin = math.cos(math.radians(view.degrees)), math.sin(math.radians(view.degrees))
    x, y = view.centre[0] * source.width, view.centre[1] * source.height
    # From output to source pixels: turn about the output's centre, then mirror, scale and move.
    ax, bx, ay, by = across * cos, across * sin, -down * sin, down * cos
    rows = (ax, bx, x - (ax + bx) * side / 2, ay, by, y - (ay + by) * side / 2)
    cut = source.transform((side, side), Image.Transform.AFFINE, rows, resample=Image.Resampling.BILINEAR)
    return cut.reduce(factor)


@lru_cache(maxsize=1)
def _photo() -> Image.Image:
    # Read by path: skimage.data would try to download what it cannot find.
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("scikit-image is not installed; data.source=photo reads the photograph that it ships")
    path = Path(spec.submodule_search_locations[0]) / "data" / "retina.jpg"
    image_ref(path)
    return Image.open(path).convert("RGB")
