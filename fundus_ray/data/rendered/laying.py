"""Lesions laid on the picture of a retina, deepest first.

In: a picture [S, S, 3], a `Ground`, and how each finding is painted. Out: the picture, a mask and a count of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered.eye import Floats, blend
from fundus_ray.data.rendered.ground import Ground
from fundus_ray.data.rendered.marks import Paint

MASK_FROM = 0.35  # a pixel that a lesion covers by more than this share is in its mask


@dataclass(frozen=True, slots=True)
class Look:
    """colour: RGB in [0, 1]; beneath: the vessels pass over it."""

    colour: tuple[float, float, float]
    opacity: float = 0.95
    beneath: bool = False


LOOKS: dict[str, Look] = {  # deepest first
    "drusen": Look((0.98, 0.80, 0.45), 0.85, beneath=True),
    "geographic_atrophy": Look((0.95, 0.68, 0.42), 0.66, beneath=True),
    "laser_scars": Look((0.90, 0.80, 0.55), 0.75, beneath=True),
    "pigment_changes": Look((0.22, 0.10, 0.06), 0.8, beneath=True),
    "subretinal_haemorrhage": Look((0.36, 0.05, 0.05), 0.9, beneath=True),
    "detached_retina": Look((0.56, 0.55, 0.38), 0.52, beneath=True),
    "cotton_wool_spot": Look((0.97, 0.92, 0.80), 0.85),
    "hard_exudate": Look((0.99, 0.90, 0.52), 0.88),
    "flame_haemorrhage": Look((0.48, 0.05, 0.05), 0.86),
    "dot_blot_haemorrhage": Look((0.44, 0.05, 0.05), 0.85),
    "microaneurysm": Look((0.50, 0.05, 0.05), 0.9),
    "bone_spicules": Look((0.08, 0.05, 0.04), 0.9),
    "fibrous_proliferation": Look((0.86, 0.82, 0.72), 0.82),
    "neovascularisation": Look((0.62, 0.08, 0.08), 0.9),
    "retinal_break": Look((0.62, 0.16, 0.08), 0.95),
    "preretinal_haemorrhage": Look((0.40, 0.02, 0.03), 0.98),
    "vitreous_haemorrhage": Look((0.30, 0.03, 0.02), 0.85),
}

# What lies beneath these is not seen where they cover more than HIDDEN_FROM.
HIDING = ("geographic_atrophy", "subretinal_haemorrhage", "preretinal_haemorrhage", "vitreous_haemorrhage")
HIDDEN_FROM = 0.7


@dataclass(slots=True)
class Laid:
    """What has been laid so far."""

    image: Floats
    coverage: dict[str, Floats] = field(default_factory=dict)
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def lay(laid: Laid, plan: Mapping[str, Paint], ground: Ground, *, seed: int, beneath: bool) -> None:
    """Lay those findings of `plan` on `laid` that go beneath the vessels, or the others. What covers nothing (no free
    site was left) is not there. A finding changes nothing but itself: each has a generator of its own."""
    for finding, look in LOOKS.items():
        if finding not in plan or look.beneath is not beneath:
            continue
        painted = plan[finding](ground, generator(seed, finding))
        mask = painted.coverage > MASK_FROM if painted.area is None else painted.area
        if not mask.any():
            continue
        if finding in HIDING:
            _hide(laid, painted.coverage > HIDDEN_FROM)
        laid.image = blend(laid.image, painted.coverage * np.float32(look.opacity), colour=look.colour)
        laid.coverage[finding], laid.masks[finding] = painted.coverage, mask
        if painted.number:
            laid.counts[finding] = painted.number


def _hide(laid: Laid, hidden: NDArray[np.bool_]) -> None:
    """Take what is no longer seen out of the masks so far; what is hidden in part is not counted either."""
    for finding, mask in list(laid.masks.items()):
        if (mask & hidden).any():
            laid.counts.pop(finding, None)
            laid.masks[finding] = mask & ~hidden
            if not laid.masks[finding].any():
                del laid.masks[finding]


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of one part of the picture of `seed`."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])])
