"""Lesions of a drawn eye, by finding id.

In: an `Eye` and a random generator. Out: coverage [H, W] in [0, 1] of one finding, to be blended with the finding's
colour in LESIONS. Sizes are in pixels of a 112 px image (`PX`); each lesion is a few pixels wide there, so that a small
vision tower sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered.eye import PX, Canvas, Eye, Floats

STREAK = np.array([[0, 0], [0.3, 1], [0.6, 0.8], [1, 0], [0.6, -0.8], [0.3, -1]])  # (along, across), a tapered stroke
TOWARDS_DISC = np.array([0.12, 0.0])  # from the fovea to the middle of the posterior pole

Painter = Callable[[Eye, np.random.Generator, float, bool], Floats]


@dataclass(frozen=True, slots=True)
class Lesion:
    """How one finding is drawn. `paint(eye, rng, severity, few)`: severity in (0, 1]; few = an incidental handful."""

    paint: Painter
    colour: tuple[float, float, float]  # RGB in [0, 1]
    opacity: tuple[float, float]  # at severity 0 and 1


def _microaneurysms(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    for x, y in _scatter(eye, rng, count=4 + round(8 * severity), spread=0.42):
        canvas.spot(x, y, radius=rng.uniform(0.95, 1.35) * PX)
    return canvas.coverage()


def _dot_blots(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    for x, y in _scatter(eye, rng, count=2 + round(5 * severity), spread=0.42, clear_of_fovea=0.1):
        canvas.polygon(_blob(x, y, rng, radius=rng.uniform(2.1, 3.5) * PX, unevenness=0.18))
    return canvas.coverage(blur_px=0.4)


def _flames(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    if few:
        side = rng.choice([-1.0, 1.0])
        angle = rng.uniform(0.5, 1.3)
        reach = eye.disc_radius * rng.uniform(1.15, 1.35)
        starts = np.array([[reach * np.cos(angle), side * reach * np.sin(angle)]])
    else:
        count = (6 if eye.sector else 2) + round((6 if eye.sector else 3) * severity)
        u = rng.uniform(0.1, 0.85, count)
        v = rng.uniform(0.25, 0.75, count) * (eye.sector or rng.choice([-1.0, 1.0], count))
        starts = np.stack([u, v], axis=-1)
    for start in starts:
        _flame(canvas, eye, rng, start=start)
    return canvas.coverage(blur_px=0.35)


def _flame(canvas: Canvas, eye: Eye, rng: np.random.Generator, *, start: NDArray[np.float64]) -> None:
    """Tapered parallel streaks along the nerve fibres, which run as parabolas v^2 ~ u about the macula."""
    fibre = np.array([1.0, start[1] / (2 * max(start[0], 0.05))])
    fibre /= np.hypot(*fibre)
    across = np.array([-fibre[1], fibre[0]])
    length = rng.uniform(13, 19) * PX
    for lane in np.linspace(-1, 1, int(rng.integers(3, 5))):
        run = length * rng.uniform(0.65, 1) * (1 - 0.3 * abs(lane))
        origin = start + across * lane * 1.35 * PX + fibre * (rng.uniform(0.05, 0.2) * length - run / 2)
        outline = origin + np.outer(STREAK[:, 0] * run, fibre) + np.outer(STREAK[:, 1] * 0.6 * PX, across)
        canvas.polygon(eye.place(outline[:, 0], outline[:, 1]))


def _hard_exudates(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    for cx, cy in _scatter(eye, rng, count=1 + round(2 * severity), spread=0.3, clear_of_fovea=0.12):
        for _ in range(7 + round(8 * severity)):
            x, y = rng.normal([cx, cy], 3.2 * PX)
            canvas.polygon(_blob(x, y, rng, radius=rng.uniform(0.75, 1.4) * PX, unevenness=0.3))
    return canvas.coverage()


def _cotton_wool(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    count = 1 + round(3 * severity)
    u = rng.uniform(0.05, 0.75, count)
    v = np.sqrt(0.5 * (u + 0.12)) * rng.uniform(0.8, 1.15, count) * (eye.sector or rng.choice([-1.0, 1.0], count))
    for x, y in eye.place(u, v):
        size = rng.uniform(3.2, 4.8) * PX
        for dx, dy in rng.normal(0, 0.45 * size, (4, 2)):
            canvas.polygon(_blob(x + dx, y + dy, rng, radius=size * rng.uniform(0.55, 0.8), unevenness=0.25))
    return canvas.coverage(blur_px=1.2)


def _drusen(eye: Eye, rng: np.random.Generator, severity: float, few: bool) -> Floats:
    canvas = Canvas(eye.image_px)
    count = int(rng.integers(2, 4)) if few else 9 + round(16 * severity)
    for _ in range(count):
        distance, angle = 0.3 * np.sqrt(rng.uniform(0.02, 1)), rng.uniform(0, 2 * np.pi)
        x, y = eye.fovea[0] + distance * np.cos(angle), eye.fovea[1] + distance * np.sin(angle)
        canvas.spot(x, y, radius=rng.uniform(1.3, 1.8 if few else 2.5) * PX, strength=rng.uniform(0.8, 1))
    return canvas.coverage(blur_px=0.6)


def _scatter(
    eye: Eye, rng: np.random.Generator, *, count: int, spread: float, clear_of_fovea: float = 0.0
) -> NDArray[np.float64]:
    """`count` places [count, 2] about the fovea, inside the field, off the disc, in the eye's sector."""
    found: list[NDArray[np.float64]] = []
    while len(found) < count:
        points = rng.normal(eye.fovea, spread, (16, 2)) + TOWARDS_DISC
        off_disc = np.hypot(*(points - eye.disc).T) > eye.disc_radius + 5 * PX
        off_fovea = np.hypot(*(points - eye.fovea).T) > clear_of_fovea
        in_field = np.hypot(*points.T) < 0.86
        in_sector = (points[:, 1] - eye.disc[1]) * eye.sector >= 0
        found.extend(points[off_disc & off_fovea & in_field & in_sector])
    return np.array(found[:count])


def _blob(x: float, y: float, rng: np.random.Generator, *, radius: float, unevenness: float) -> NDArray[np.float64]:
    """An uneven round outline [9, 2]."""
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    r = radius * rng.uniform(1 - unevenness, 1 + unevenness, 9)
    return np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=-1)


LESIONS: dict[str, Lesion] = {  # in the order in which they are laid on the retina, deepest first
    "drusen": Lesion(_drusen, (0.97, 0.76, 0.42), (0.75, 0.95)),
    "cotton_wool_spot": Lesion(_cotton_wool, (0.97, 0.90, 0.80), (0.75, 0.95)),
    "hard_exudate": Lesion(_hard_exudates, (1.0, 0.95, 0.45), (0.9, 1.0)),
    "flame_haemorrhage": Lesion(_flames, (0.48, 0.05, 0.07), (0.88, 1.0)),
    "dot_blot_haemorrhage": Lesion(_dot_blots, (0.38, 0.04, 0.06), (0.85, 1.0)),
    "microaneurysm": Lesion(_microaneurysms, (0.42, 0.03, 0.05), (0.9, 1.0)),
}
