"""What a scanner makes of the layers: brightness of each, choroid, shadows of vessels, speckle.

In: surfaces (layers.py) and what fills the gaps between them. Out: brightness [H, W] in [0, 1], and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fundus_ray.data.rendered.layers import SHARES, Floats, Frame

VITREOUS = 0.07
BRIGHTNESS = {
    "nerve_fibres": 0.72,
    "ganglion_cells": 0.47,
    "inner_nuclear": 0.29,
    "outer_plexiform": 0.46,
    "outer_nuclear": 0.22,
    "inner_segments": 0.36,
    "ellipsoid": 0.80,
    "outer_segments": 0.48,
    "pigment_epithelium": 0.92,
}
FLUID = 0.045


def paint_layers(
    frame: Frame,
    rows: Mapping[str, Floats],
    rng: np.random.Generator,
    *,
    under_epithelium: float = 0.3,
    transmission: Floats | None = None,
) -> Floats:
    """Brightness [H, W] without noise. under_epithelium: of what lies between it and
    Bruch's membrane; transmission [W]: how much brighter the choroid is where the pigment epithelium is gone."""
    y = np.arange(frame.height)[:, None] + 0.0
    soft = 0.4 + 0.0022 * frame.height
    uneven = 1 + 0.05 * _noise(rng, frame, across=9, down=3)
    image = np.full((frame.height, frame.width), VITREOUS)
    before: Floats = np.full((1, 1), VITREOUS)
    retina = [name for name in SHARES if name != "pigment_epithelium"]
    steps = [
        *((rows[name], BRIGHTNESS[name] * uneven) for name in retina),
        (rows["retina_base"], np.full((1, 1), FLUID)),
        (rows["pigment_epithelium"], BRIGHTNESS["pigment_epithelium"] * uneven),
        (rows["epithelium_base"], np.full((1, 1), under_epithelium)),
        (frame.bruch, _choroid(frame, rng, transmission)),
    ]
    for row, bright in steps:
        # A layer that is thinner than the blur fades out instead of leaving a seam.
        image = image + (bright - before) / (1 + np.exp(-np.clip((y - row) / soft, -30, 30)))
        before = bright
    line = np.exp(-(((y - rows["inner_segments"]) / (0.6 + 0.002 * frame.height)) ** 2))
    gone = rows["ellipsoid"] - rows["inner_segments"] < 0.25
    image = image + 0.12 * line * ~gone  # external limiting membrane
    membrane = np.exp(-(((y - frame.bruch) / (0.6 + 0.002 * frame.height)) ** 2))
    apart = np.clip((frame.bruch - rows["epithelium_base"]) / (0.012 * frame.height), 0, 1)
    return np.asarray(image + 0.18 * membrane * apart)


def _choroid(frame: Frame, rng: np.random.Generator, transmission: Floats | None) -> Floats:
    """Brightness [H, W] below Bruch's membrane: bright stroma with dark lumens, then the sclera, fading."""
    depth = (np.arange(frame.height)[:, None] - frame.bruch) / frame.height
    ends = frame.choroid * (1 + 0.12 * _noise(rng, frame, across=5, down=1)[:1])
    lumens = 1 / (1 + np.exp(-6 * (_noise(rng, frame, across=26, down=20) - 0.15)))
    grow = np.clip(depth / (0.5 * ends), 0, 1)  # small vessels under the membrane, large ones deeper
    stroma = 0.5 - 0.22 * np.clip(depth / ends, 0, 1)
    choroid = stroma * (1 - 0.5 * lumens * (0.25 + 0.75 * grow))
    sclera = 0.3 * np.exp(-(depth - ends) / 0.16) * (1 + 0.1 * _noise(rng, frame, across=14, down=24))
    mixed = choroid + (sclera - choroid) / (1 + np.exp(-np.clip((depth - ends) / 0.012, -30, 30)))
    brighter = 1.0 if transmission is None else 1 + transmission
    return np.asarray(np.clip(mixed * brighter, 0, 1))


def shadows(image: Floats, frame: Frame, rows: Mapping[str, Floats], rng: np.random.Generator) -> Floats:
    """Vessels of the inner retina, cut across: a bright cap, and a shadow on all below."""
    y = np.arange(frame.height)[:, None]
    for _ in range(int(rng.integers(2, 6))):
        at = rng.uniform(0.03, 0.97)
        if abs(at - frame.fovea) < 0.13:
            continue
        width = rng.uniform(0.005, 0.011)
        column = np.exp(-(((frame.s - at) / width) ** 2))
        centre = rows["ganglion_cells"] + 0.01 * frame.height
        below = 1 / (1 + np.exp(-np.clip((y - centre) / 2, -30, 30)))
        image = image * (1 - rng.uniform(0.25, 0.5) * column * below)
        image = image + 0.25 * column * np.exp(-(((y - centre) / (0.018 * frame.height)) ** 2))
    return image


def hyaloid(image: Floats, frame: Frame, rows: Mapping[str, Floats], rng: np.random.Generator) -> Floats:
    """The detached back of the vitreous: a faint line above the retina, in some eyes."""
    if rng.random() < 0.6:
        return image
    y = np.arange(frame.height)[:, None]
    smooth = ndimage.gaussian_filter1d(rows["nerve_fibres"], frame.width / 12, mode="nearest")
    gap = rng.uniform(0.035, 0.1) + rng.uniform(-0.05, 0.05) * (frame.s - 0.5)
    line = smooth - np.clip(gap, 0.02, None) * frame.height
    return np.asarray(image + 0.13 * np.exp(-(((y - line) / (0.5 + 0.002 * frame.height)) ** 2)))


def speckled(image: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pixels [H, W, 3], grey: speckle grows with brightness, noise of the detector is everywhere."""
    width = image.shape[1]
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.35 * width / 336, 0.6 * width / 336))
    grain /= grain.std()
    amount = rng.uniform(0.1, 0.22)
    fine = rng.standard_normal(image.shape)
    noisy = image * np.exp(amount * grain - amount**2 / 2) + rng.uniform(0.012, 0.03) * np.abs(fine)
    noisy = ndimage.gaussian_filter(noisy, 0.3 * width / 336)
    curve = np.clip(noisy * rng.uniform(0.88, 1.08), 0, 1) ** rng.uniform(0.9, 1.15)
    grey = (curve * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _noise(rng: np.random.Generator, frame: Frame, *, across: int, down: int) -> Floats:
    """Smooth noise [H, W] about 0, with so many humps."""
    coarse = Image.fromarray(rng.standard_normal((down + 1, across + 1)).astype(np.float32))
    return np.asarray(coarse.resize((frame.width, frame.height), Image.Resampling.BICUBIC), dtype=np.float64)
