"""Rendered colour fundus photographs with known findings.

In: an integer seed and a side in pixels. Out: a `Phantom`: pixels uint8 [H, W, 3], its disease, its finding ids and a
bool map [H, W] of each. The same seed gives the same picture, findings and maps at the same side.

Which findings go with which disease is FINDING_RATES: they overlap, so that a chain must weigh several of them. These
are teaching drawings, not medical data: rates and looks are simplified from textbook descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.cache import render_halves
from fundus_ray.data.images import image_ref
from fundus_ray.data.rendered import eye as anatomy
from fundus_ray.data.rendered.lesions import LESIONS
from fundus_ray.types import Modality, Sample

QUESTION = "Which condition does this fundus photograph show?"
RENDERER_VERSION = 1  # part of the cache key: raise it whenever a picture of any seed changes

FINDINGS = (
    "microaneurysm",
    "dot_blot_haemorrhage",
    "flame_haemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "drusen",
    "enlarged_cup",
    "arteriolar_narrowing",
    "venous_tortuosity",
)
ANATOMICAL = ("enlarged_cup", "arteriolar_narrowing", "venous_tortuosity")  # change the eye rather than lie on it

FINDING_RATES: dict[str, dict[str, float]] = {  # disease -> finding -> how often
    "normal": {"drusen": 0.08},
    "diabetic retinopathy": {
        "microaneurysm": 1.0,
        "dot_blot_haemorrhage": 0.7,
        "hard_exudate": 0.65,
        "cotton_wool_spot": 0.4,
    },
    "age-related macular degeneration": {"drusen": 1.0, "hard_exudate": 0.2, "dot_blot_haemorrhage": 0.25},
    "glaucoma": {"enlarged_cup": 1.0, "flame_haemorrhage": 0.3, "drusen": 0.2},
    "hypertensive retinopathy": {
        "arteriolar_narrowing": 1.0,
        "flame_haemorrhage": 0.65,
        "cotton_wool_spot": 0.6,
        "hard_exudate": 0.5,
    },
    "retinal vein occlusion": {
        "venous_tortuosity": 1.0,
        "flame_haemorrhage": 0.95,
        "dot_blot_haemorrhage": 0.6,
        "cotton_wool_spot": 0.5,
    },
}
DISEASES = tuple(FINDING_RATES)
INCIDENTAL = {("normal", "drusen"), ("glaucoma", "drusen"), ("glaucoma", "flame_haemorrhage")}  # a few small ones only


@dataclass(frozen=True, slots=True)
class Phantom:
    """One picture with everything that is known of it."""

    pixels: NDArray[np.uint8]  # [H, W, 3]
    masks: dict[str, NDArray[np.bool_]]  # finding id -> [H, W]; one entry for each finding present
    disease: str
    findings: tuple[str, ...]  # in FINDINGS' order
    laterality: str  # "right" (disc on the right of the picture) | "left"


def draw_case(seed: int) -> tuple[str, tuple[str, ...]]:
    """(disease, finding ids) of `seed`: disease drawn uniformly, findings by FINDING_RATES."""
    rng = np.random.default_rng([seed, 0])
    disease = DISEASES[rng.integers(len(DISEASES))]
    rates = FINDING_RATES[disease]
    draws = rng.random(len(FINDINGS))
    return disease, tuple(name for name, draw in zip(FINDINGS, draws, strict=True) if draw < rates.get(name, 0.0))


def render(seed: int, *, image_px: int) -> Phantom:
    """The phantom of `seed` >= 0, `image_px` pixels wide and high."""
    disease, findings = draw_case(seed)
    return paint(seed, image_px=image_px, disease=disease, findings=findings)


def paint(seed: int, *, image_px: int, disease: str, findings: Sequence[str]) -> Phantom:
    """The eye of `seed` with exactly these findings, as `disease` has them. A finding changes nothing but itself."""
    eye_rng, vessel_rng, retina_rng, camera_rng = (np.random.default_rng([seed, 1 + i]) for i in range(4))
    finding_rngs = _finding_rngs(seed)
    severity = _draw_severities(finding_rngs)
    laterality = "right" if eye_rng.random() < 0.5 else "left"
    sector = int(eye_rng.choice([-1, 1])) * (disease == "retinal vein occlusion")
    changed = {name: severity[name] for name in ANATOMICAL if name in findings}
    eye = anatomy.draw_eye(eye_rng, image_px=image_px, sector=sector, **changed)
    arteries, veins = anatomy.draw_vessels(eye, vessel_rng)
    image = anatomy.paint_retina(eye, retina_rng)
    coverage = {
        "enlarged_cup": anatomy.disc_coverage(eye, ratio=eye.cup_ratio, edge=anatomy.PX),
        "arteriolar_narrowing": arteries * 2,  # narrow arteries cover less than a pixel
        "venous_tortuosity": veins,
    }
    painted_vessels = False
    for name, lesion in LESIONS.items():
        if name != "drusen" and not painted_vessels:  # drusen lie beneath the vessels, all else upon them
            image, painted_vessels = anatomy.paint_vessels(image, eye, arteries=arteries, veins=veins), True
        if name in findings:
            few = (disease, name) in INCIDENTAL
            coverage[name] = lesion.paint(eye, finding_rngs[FINDINGS.index(name)], severity[name], few)
            opacity = np.float32(np.interp(severity[name], (0, 1), lesion.opacity))
            image = anatomy.blend(image, coverage[name] * opacity, colour=lesion.colour)
    pixels = anatomy.photograph(image, eye, camera_rng)
    field = anatomy.field_of_view(image_px)
    present = tuple(name for name in FINDINGS if name in findings)
    masks = {name: (coverage[name] > 0.35) & field for name in present}
    if laterality == "left":
        pixels, masks = pixels[:, ::-1], {name: mask[:, ::-1] for name, mask in masks.items()}
    return Phantom(np.ascontiguousarray(pixels), masks, disease, present, laterality)


def severities(seed: int) -> dict[str, float]:
    """How marked each finding is, or would be, in the phantom of `seed`: in [0.15, 1]."""
    return _draw_severities(_finding_rngs(seed))


def seed_of(sample: Sample) -> int:
    """The seed that the sample's phantom was drawn from."""
    return int(sample.id.removeprefix("phantom-"))


def _finding_rngs(seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, 5 + i]) for i in range(len(FINDINGS))]


def _draw_severities(rngs: Sequence[np.random.Generator]) -> dict[str, float]:
    return {name: float(rng.uniform(0.15, 1)) for name, rng in zip(FINDINGS, rngs, strict=True)}


def phantom_samples(cache_dir: Path, *, image_px: int, seed: int, sizes: Mapping[str, int]) -> tuple[Sample, ...]:
    """Samples of both halves, `sizes` = {"train": n, "eval": m}; PNGs are kept in `cache_dir`/phantoms-KEY.

    Every phantom is a patient of its own. Raises DataError where the cache cannot be written or holds a damaged image.
    """
    drawn = render_halves(
        cache_dir,
        "phantoms",
        version=RENDERER_VERSION,
        image_px=image_px,
        seed=seed,
        sizes=sizes,
        draw=lambda one: render(one, image_px=image_px).pixels,
        label="rendering phantoms",
    )
    return tuple(_sample(one, path=path, split=split) for one, path, split in drawn)


def _sample(seed: int, *, path: Path, split: str) -> Sample:
    disease, findings = draw_case(seed)
    order = np.random.default_rng([seed, 1 + len(FINDINGS) + 4]).permutation(len(DISEASES))
    return Sample(
        id=f"phantom-{seed}",
        image=image_ref(path),
        modality=Modality.CFP,
        question=QUESTION,
        options=tuple(DISEASES[i] for i in order),
        answer=(disease,),
        task="diagnosis",
        source="phantoms",
        split=split,
        patient_id=str(seed),
        findings=findings,
    )
