"""How each sign of disease changes a B-scan: what moves the surfaces, and what is painted between them.

In: the scan's `Parts` and a random generator. Out: SHAPING, run before the surfaces are laid out, and PAINTED, run on
the picture [H, W] after, which gives the sign's mask too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered import scan
from fundus_ray.data.rendered.layers import Floats, Frame, Shape, dome

AMD, DME = "age-related macular degeneration", "diabetic macular oedema"
CSC, HOLE, MEMBRANE = "central serous chorioretinopathy", "macular hole", "epiretinal membrane"


@dataclass(frozen=True, slots=True)
class Case:
    """What is drawn. signs: ids of findings, in no order."""

    title: str
    diagnoses: tuple[str, ...]
    signs: frozenset[str]
    amd_stage: str | None = None


@dataclass(slots=True)
class Parts:
    """The scan while it is made. cysts: (s, depth in the retina from 0 to 1, half width, half height) in shares of the
    width; material: height [W] of what lies on the pigment epithelium, in shares of the picture's."""

    frame: Frame
    shape: Shape
    material: Floats
    cysts: list[tuple[float, float, float, float]] = field(default_factory=list)
    under_epithelium: float = 0.5  # brightness: drusen; serous and fibrovascular detachments are darker
    transmission: Floats | None = None


def _drusen(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    small = case.amd_stage == "early"
    for _ in range(int(rng.integers(5, 11) if small else rng.integers(4, 8))):
        bump = dome(
            parts.frame.s,
            centre=parts.frame.fovea + rng.normal(0, 0.16),
            half_width=rng.uniform(0.011, 0.016) if small else rng.uniform(0.024, 0.045),
            height=rng.uniform(0.011, 0.016) if small else rng.uniform(0.026, 0.05),
            steepness=0.8,
        )
        parts.shape.under_epithelium = np.maximum(parts.shape.under_epithelium, bump)


def _detached_epithelium(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    small = case.diagnoses == (CSC,)
    bump = dome(
        parts.frame.s,
        centre=parts.frame.fovea + rng.uniform(-0.1, 0.1),
        half_width=rng.uniform(0.05, 0.08) if small else rng.uniform(0.09, 0.2),
        height=rng.uniform(0.03, 0.05) if small else rng.uniform(0.06, 0.15),
        steepness=0.6,
    )
    parts.shape.under_epithelium = np.maximum(parts.shape.under_epithelium, bump)
    parts.under_epithelium = rng.uniform(0.1, 0.45)  # serous to fibrovascular


def _subretinal_fluid(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    centre = parts.frame.fovea + rng.uniform(-0.09, 0.09)
    half_width = rng.uniform(0.14, 0.28) if case.diagnoses == (CSC,) else rng.uniform(0.1, 0.2)
    height = half_width * rng.uniform(0.32, 0.55)
    bump = dome(parts.frame.s, centre=centre, half_width=half_width, height=height, steepness=1.2)
    parts.shape.under_retina = np.maximum(parts.shape.under_retina, bump)


def _hyperreflective_material(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    bump = dome(
        parts.frame.s,
        centre=parts.frame.fovea + rng.uniform(-0.06, 0.06),
        half_width=rng.uniform(0.07, 0.14),
        height=rng.uniform(0.035, 0.07),
        steepness=0.9,
    )
    parts.material = bump
    parts.shape.under_retina = np.maximum(parts.shape.under_retina, bump)


def _swollen_with_cysts(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    frame, mild = parts.frame, case.diagnoses != (DME,)
    reach = rng.uniform(0.09, 0.13) if mild else rng.uniform(0.12, 0.24)
    centre = frame.fovea + rng.uniform(-0.06, 0.06)
    height = rng.uniform(0.05, 0.08) if mild else rng.uniform(0.07, 0.17)
    parts.shape.swelling = parts.shape.swelling + height * np.exp(-(((frame.s - centre) / (0.8 * reach)) ** 2))
    parts.shape.pit = 0.45
    for _ in range(int(rng.integers(4, 12) if mild else rng.integers(14, 40))):
        half_width = rng.uniform(0.012, 0.045) * (0.7 if mild else 1)
        half_height = half_width * rng.uniform(0.8, 1.9)
        place = (centre + rng.uniform(-reach, reach), rng.uniform(0.2, 0.8))
        if all(abs(place[0] - other[0]) > half_width + other[2] + 0.004 for other in parts.cysts):
            parts.cysts.append((*place, half_width, half_height))


def _atrophy(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    s, centre, half = parts.frame.s, parts.frame.fovea + rng.uniform(-0.08, 0.08), rng.uniform(0.09, 0.2)
    parts.shape.outer_loss = 1 / (1 + np.exp(-np.clip((half - np.abs(s - centre)) / 0.006, -30, 30)))
    parts.transmission = 0.75 * parts.shape.outer_loss
    # No druse is left where the pigment epithelium is gone.
    parts.shape.under_epithelium = parts.shape.under_epithelium * (1 - parts.shape.outer_loss)


def _open_fovea(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    u = parts.frame.s - parts.frame.fovea
    parts.shape.pit = 0.35
    parts.shape.swelling = parts.shape.swelling + rng.uniform(0.035, 0.06) * np.exp(-((u / 0.12) ** 2))


def _cuff(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    cuff = dome(
        parts.frame.s,
        centre=parts.frame.fovea,
        half_width=rng.uniform(0.11, 0.15),
        height=rng.uniform(0.04, 0.06),
        steepness=1.3,
    )
    parts.shape.under_retina = np.maximum(parts.shape.under_retina, cuff)


def _wrinkled(parts: Parts, rng: np.random.Generator, case: Case) -> None:
    s = parts.frame.s
    within = np.exp(-(np.abs((s - parts.frame.fovea) / 0.32) ** 4))
    wave = np.sin(2 * np.pi * (rng.uniform(13, 20) * s + 0.6 * np.sin(5 * s + rng.uniform(0, 6))))
    parts.shape.ripple = rng.uniform(0.008, 0.014) * within * (wave + 1)
    parts.shape.pit = rng.uniform(0.1, 0.4)
    parts.shape.swelling = parts.shape.swelling + 0.03 * within


Shaping = Callable[[Parts, np.random.Generator, Case], None]
SHAPING: Mapping[str, Shaping] = {
    "drusen": _drusen,
    "pigment_epithelial_detachment": _detached_epithelium,
    "subretinal_fluid": _subretinal_fluid,
    "subretinal_hyperreflective_material": _hyperreflective_material,
    "intraretinal_fluid": _swollen_with_cysts,
    "geographic_atrophy": _atrophy,
    "full_thickness_hole": _open_fovea,
    "fluid_cuff": _cuff,
    "epiretinal_membrane": _wrinkled,
}


def _paint_cysts(
    parts: Parts, rows: Mapping[str, Floats], image: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    frame = parts.frame
    y, s = np.arange(frame.height)[:, None], frame.s
    coverage = np.zeros_like(image)
    for at, depth, half_width, half_height in parts.cysts:
        column = min(max(round(at * frame.width), 0), frame.width - 1)
        top, bottom = rows["inner_nuclear"][column], rows["inner_segments"][column]
        tall = min(half_height * frame.width, 0.42 * (bottom - top))
        middle = np.clip(top + depth * (bottom - top), top + tall * 1.05, bottom - tall * 1.05)
        distance = np.sqrt(((s - at) / half_width) ** 2 + ((y - middle) / max(tall, 1.0)) ** 2)
        edge = half_width * frame.width / 1.4
        coverage = np.maximum(coverage, np.clip((1 - distance) * edge + 0.5, 0, 1))
    inside = (y > rows["inner_nuclear"]) & (y < rows["inner_segments"])
    coverage = coverage * inside
    return image + coverage * (scan.FLUID - image), coverage > 0.5


def _paint_material(
    parts: Parts, rows: Mapping[str, Floats], image: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Below any fluid, on the pigment epithelium."""
    frame = parts.frame
    y = np.arange(frame.height)[:, None]
    top = rows["pigment_epithelium"] - parts.material * frame.height
    inside = (y >= top) & (y < rows["pigment_epithelium"]) & (parts.material > 0)
    return np.where(inside, 0.62 + 0.05 * rng.standard_normal((1, frame.width)), image), inside


def _paint_hole(
    parts: Parts, rows: Mapping[str, Floats], image: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    frame = parts.frame
    y = np.arange(frame.height)[:, None]
    top, bottom = rows["nerve_fibres"], rows["pigment_epithelium"]
    depth = np.clip((y - top) / np.maximum(bottom - top, 1), 0, 1)
    narrow = rng.uniform(0.03, 0.06)
    half = narrow * (0.75 + 1.1 * (1 - depth) ** 2.5 + 0.9 * depth**3)
    apart = np.abs(frame.s - frame.fovea)
    coverage = np.clip((half - apart) * frame.width / 1.5 + 0.5, 0, 1) * (y < bottom)
    return image + coverage * (scan.VITREOUS - image), (coverage > 0.5) & (y > top)


def _paint_membrane(
    parts: Parts, rows: Mapping[str, Floats], image: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """A bright line that rests on the crests of the wrinkled surface."""
    frame = parts.frame
    y = np.arange(frame.height)[:, None]
    crests = rows["nerve_fibres"] - parts.shape.ripple * frame.height
    line = crests - 0.006 * frame.height
    across = np.abs(frame.s - frame.fovea) < rng.uniform(0.26, 0.36)
    thick = 0.5 + 0.0045 * frame.height
    coverage = np.exp(-(((y - line) / thick) ** 2)) * across
    return image + coverage * (0.82 - image), coverage > 0.37


def _paint_foci(
    parts: Parts, rows: Mapping[str, Floats], image: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    frame = parts.frame
    y, x = np.arange(frame.height)[:, None], np.arange(frame.width)
    coverage = np.zeros_like(image)
    for _ in range(int(rng.integers(6, 16))):
        column = int(np.clip(rng.normal(frame.fovea, 0.14), 0.03, 0.96) * frame.width)
        row = rng.uniform(rows["ganglion_cells"][column], rows["inner_segments"][column])
        radius = rng.uniform(0.8, 1.3) * max(frame.width / 224, 0.7)
        coverage = np.maximum(coverage, np.exp(-(((x - column) ** 2 + (y - row) ** 2) / radius**2)))
    return image + coverage * (0.85 - image), coverage > 0.4


Painting = Callable[[Parts, Mapping[str, Floats], Floats, np.random.Generator], tuple[Floats, NDArray[np.bool_]]]
PAINTED: Mapping[str, Painting] = {
    "subretinal_hyperreflective_material": _paint_material,
    "intraretinal_fluid": _paint_cysts,
    "hyperreflective_foci": _paint_foci,
    "full_thickness_hole": _paint_hole,
    "epiretinal_membrane": _paint_membrane,
}
