"""The layers of the retina in a B-scan through the fovea: where each surface runs.

In: a random generator and what disease does to the surfaces. Out: rows [W] of each surface, in pixels from the top.
s is the place across the scan, 0 at its left and 1 at its right edge; heights are shares of the picture's height.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

# From the inner surface outwards, each named after the layer that begins there, with its share of the retina beside the
# fovea. The last is Bruch's membrane.
SHARES = {
    "nerve_fibres": 0.12,
    "ganglion_cells": 0.26,
    "inner_nuclear": 0.12,
    "outer_plexiform": 0.09,
    "outer_nuclear": 0.25,
    "inner_segments": 0.035,
    "ellipsoid": 0.05,
    "outer_segments": 0.045,
    "pigment_epithelium": 0.06,
}
INNER = ("nerve_fibres", "ganglion_cells", "inner_nuclear", "outer_plexiform")  # those that the foveal pit parts

SPREADS_OVER = 0.045  # of the width: over how much of the inner surface a bump below spreads
LEAST = 0.3  # share of the outer nuclear layer that stays over a bump


@dataclass(frozen=True, slots=True)
class Frame:
    """One eye's scan before any disease. nasal: +1 where the optic disc lies to the right."""

    width: int
    height: int
    fovea: float  # s
    nasal: int
    thickness: float  # of the retina beside the fovea
    choroid: float  # its thickness
    bruch: Floats  # [W] row
    pit_depth: float

    @property
    def s(self) -> Floats:
        """[W] place of each column's centre."""
        return (np.arange(self.width) + 0.5) / self.width


@dataclass(slots=True)
class Shape:
    """What disease does to the surfaces, each [W] in shares of the height, or 0."""

    under_epithelium: Floats  # lifts the pigment epithelium and all above it off Bruch's membrane
    under_retina: Floats  # lifts the retina off the pigment epithelium
    swelling: Floats  # thickens the inner nuclear to outer nuclear layers
    ripple: Floats  # moves the inner surface alone
    outer_loss: Floats  # 0 to 1: share of the outer layers that is gone
    pit: float = 1.0  # 0: the pit is filled in


def draw_frame(rng: np.random.Generator, *, width: int, thick_choroid: bool = False) -> Frame:
    """A right eye's scan, three quarters as high as wide."""
    height = round(0.75 * width)
    s = (np.arange(width) + 0.5) / width
    fovea = rng.uniform(0.42, 0.58)
    row = rng.uniform(0.58, 0.66) + rng.uniform(-0.1, 0.1) * (s - 0.5) - rng.uniform(-0.02, 0.22) * (s - 0.5) ** 2
    row += 0.003 * np.sin(2 * np.pi * (rng.uniform(1, 2) * s + rng.random()))
    return Frame(
        width=width,
        height=height,
        fovea=fovea,
        nasal=1,
        thickness=rng.uniform(0.2, 0.24),
        choroid=rng.uniform(0.24, 0.3) if thick_choroid else rng.uniform(0.1, 0.17),
        bruch=row * height,
        pit_depth=rng.uniform(0.82, 0.94),
    )


def undisturbed(frame: Frame) -> Shape:
    """No disease."""
    flat = np.zeros(frame.width)
    return Shape(under_epithelium=flat, under_retina=flat, swelling=flat, ripple=flat, outer_loss=flat)


def surfaces(frame: Frame, shape: Shape) -> dict[str, Floats]:
    """Row [W] of the start of each layer of SHARES, of "epithelium_base" (where the pigment epithelium ends), and of
    "retina_base", where the retina itself ends: above the pigment epithelium by the height of any fluid."""
    base = frame.bruch - shape.under_epithelium * frame.height
    rows = {"epithelium_base": base}
    thickness = _thicknesses(frame, shape)
    lifted = (shape.under_epithelium + shape.under_retina) * frame.height - _lost(frame, shape)
    # The outer nuclear layer gives way, so that the inner surface bulges less and more widely than what lifts it.
    taken_up = lifted - ndimage.gaussian_filter1d(lifted, SPREADS_OVER * frame.width, mode="nearest")
    thickness["outer_nuclear"] = np.maximum(thickness["outer_nuclear"] - taken_up, LEAST * thickness["outer_nuclear"])
    row = base - thickness["pigment_epithelium"]
    rows["pigment_epithelium"] = row
    row = row - shape.under_retina * frame.height
    rows["retina_base"] = row
    for name in [name for name in reversed(SHARES) if name != "pigment_epithelium"]:
        row = row - thickness[name]
        rows[name] = row
    rows["nerve_fibres"] = np.minimum(rows["nerve_fibres"] + shape.ripple * frame.height, rows["ganglion_cells"])
    return rows


def _lost(frame: Frame, shape: Shape) -> Floats:
    """[W] by how many pixels the outer layers are thinner than without disease."""
    whole = replace(shape, outer_loss=np.zeros(frame.width))
    with_it, without = _thicknesses(frame, shape), _thicknesses(frame, whole)
    return np.sum([without[name] - with_it[name] for name in SHARES], axis=0)


def _thicknesses(frame: Frame, shape: Shape) -> dict[str, Floats]:
    """[W] of each layer in pixels."""
    u = frame.s - frame.fovea
    full = frame.thickness * frame.height
    pit = frame.pit_depth * shape.pit * np.exp(-(np.abs(u / 0.08) ** 2))
    rim = 1 + 0.12 * np.exp(-(((np.abs(u) - 0.19) / 0.1) ** 2)) - 0.35 * np.clip(np.abs(u) - 0.2, 0, None)
    rows = {name: share * full * np.ones_like(u) for name, share in SHARES.items()}
    for name in INNER:
        rows[name] *= rim * (1 - pit)
    # Nerve fibres run to the disc: they thicken towards it and leave the macula bare.
    bare = shape.pit * np.exp(-((u / 0.14) ** 2))
    rows["nerve_fibres"] *= (0.55 + 3.2 * np.clip(u * frame.nasal, 0, 0.5)) * (1 - 0.9 * bare)
    rows["outer_nuclear"] *= 1 + 0.7 * np.exp(-((u / 0.075) ** 2))
    rows["outer_segments"] *= 1 + 0.8 * np.exp(-((u / 0.045) ** 2))
    left = 1 - shape.outer_loss
    for name in ("inner_segments", "ellipsoid", "outer_segments", "pigment_epithelium"):
        rows[name] *= left
    rows["outer_nuclear"] *= 0.5 + 0.5 * left
    for name, part in (("inner_nuclear", 0.35), ("outer_plexiform", 0.15), ("outer_nuclear", 0.5)):
        rows[name] += part * shape.swelling * frame.height
    return rows


def dome(s: Floats, *, centre: float, half_width: float, height: float, steepness: float) -> Floats:
    """A bump [W] of this height, 0 beyond its half width; steepness below 1 gives steep edges, above 1 soft ones."""
    inside = np.clip(1 - ((s - centre) / half_width) ** 2, 0, 1)
    return np.asarray(height * inside**steepness)
