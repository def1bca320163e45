"""Lesions of a photographed retina that cover an area: new vessels, blood in front of and below it, scars, atrophy.

In: a `Ground` and a random generator. Out: `Painted`, as in marks.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fundus_ray.data.rendered.eye import Canvas, Floats, grid, ribbons
from fundus_ray.data.rendered.ground import Ground
from fundus_ray.data.rendered.marks import Painted, blob

CURVE = 28  # points of a drawn vessel, as eye.ribbons tapers it


def new_vessels(ground: Ground, rng: np.random.Generator, *, tufts: int) -> Painted:
    """Tufts of fine, curled vessels, the first on the disc in half of the eyes. The area is the whole tuft."""
    eye = ground.eye
    canvas, area = Canvas(eye.image_px), Canvas(eye.image_px)
    on_disc = bool(rng.random() < 0.5)
    for tuft in range(tufts):
        size = rng.uniform(6, 10) * ground.unit
        if tuft == 0 and on_disc:
            turn = rng.uniform(0, 2 * np.pi)
            root = np.add(eye.disc, 0.6 * eye.disc_radius * np.array([np.cos(turn), np.sin(turn)]))
        else:
            site = ground.site(
                rng, radius=size / ground.unit, spread=0.45, clear_of_fovea=0.15, on_vessels=True, in_front=True
            )
            if site is None:
                continue
            root = site
        curls = np.stack([_curl(root, rng, length=size * rng.uniform(0.7, 1.25)) for _ in range(9)])
        for outline in ribbons(curls, width=np.full((9, 1), 0.62 * ground.unit)):
            canvas.polygon(outline)
        points = curls.reshape(-1, 2)
        area.polygon(_hull(points, about=points.mean(axis=0)))
    return Painted(canvas.coverage(), area=area.coverage() > 0.5)


def _curl(root: NDArray[np.floating], rng: np.random.Generator, *, length: float) -> NDArray[np.float64]:
    """A vessel [CURVE, 2] that leaves `root`, winds and turns back, as fronds do."""
    s = np.linspace(0, 1, CURVE)
    heading = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * rng.uniform(1.2, 3.6) * s**1.6
    heading = heading + rng.uniform(0.3, 0.8) * np.sin(2 * np.pi * (rng.uniform(1.5, 2.6) * s + rng.random()))
    step = length / CURVE
    return np.asarray(root + np.stack([np.cumsum(step * np.cos(heading)), np.cumsum(step * np.sin(heading))], axis=-1))


def _hull(points: NDArray[np.float64], *, about: NDArray[np.float64], sides: int = 20) -> NDArray[np.float64]:
    """The outline [sides, 2] through the farthest of the points in each direction."""
    offset = points - about
    direction = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rays = np.stack([np.cos(direction), np.sin(direction)], axis=-1)
    reach = np.maximum((offset @ rays.T).max(axis=0), 1e-3)
    return np.asarray(about + 0.92 * reach[:, None] * rays)


def preretinal_blood(ground: Ground, rng: np.random.Generator) -> Painted:
    """Blood between retina and vitreous that has settled: a level top, a round bottom. It hides what lies beneath."""
    radius = rng.uniform(6, 13)
    site = ground.site(rng, radius=radius, spread=0.34, on_vessels=True, in_front=True)
    canvas = Canvas(ground.eye.image_px)
    if site is not None:
        across = np.linspace(-1, 1, 33)
        bottom = np.sqrt(np.clip(1 - across**2, 0, 1)) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.012, 33)
        tilt = rng.normal(0, 0.03)
        outline = np.stack([np.r_[across, across[::-1]], np.r_[bottom - 0.45, tilt * across - 0.42]], axis=-1)
        canvas.polygon(site + outline * radius * ground.unit)
    return Painted(canvas.coverage(blur_px=0.4))


def vitreous_blood(ground: Ground, rng: np.random.Generator) -> Painted:
    """A haze of blood in the vitreous, in clouds and sinking streaks, without edges."""
    image_px = ground.eye.image_px
    clouds = _cloud(rng, image_px, cells=5) + 0.5 * _cloud(rng, image_px, cells=11)
    x, y = grid(image_px)
    low = rng.uniform(0.0, 0.35)
    centre = rng.normal(0, 0.2)
    density = 0.9 * clouds + np.float32(1.0) - 1.5 * (x - centre) ** 2 - 1.6 * (y - low) ** 2
    coverage = np.clip(0.75 * density, 0, 1) ** 1.3 * (x**2 + y**2 < 1)
    return Painted(np.asarray(coverage, dtype=np.float32))


def fibrous_bands(ground: Ground, rng: np.random.Generator, *, bands: int) -> Painted:
    """White-grey bands of fibrovascular tissue that leave the disc along the arcades, with spurs."""
    eye = ground.eye
    canvas = Canvas(eye.image_px)
    for _ in range(bands):
        side = rng.choice([-1.0, 1.0])
        s = np.linspace(0, 1, CURVE)
        reach, opening = rng.uniform(0.35, 0.75) * eye.fovea_distance / 0.7, rng.uniform(0.35, 0.6)
        v = side * reach * s + 0.02 * np.sin(7 * s)
        u = v**2 / opening - 0.03 + 0.03 * np.sin(5 * s + rng.uniform(0, 6))
        curve = eye.place(u, v)
        spurs = [_curl(curve[at], rng, length=rng.uniform(5, 10) * ground.unit) for at in rng.integers(6, 26, 3)]
        widths = np.array([rng.uniform(3, 5), *rng.uniform(1.6, 2.6, 3)])[:, None] * ground.unit
        for outline in ribbons(np.stack([curve, *spurs]), width=widths):
            canvas.polygon(outline, strength=0.95)
    return Painted(canvas.coverage(blur_px=0.7))


def atrophy(ground: Ground, rng: np.random.Generator, *, patches: int) -> Painted:
    """Geographic atrophy: sharply edged, scalloped areas at the macula."""
    canvas = Canvas(ground.eye.image_px)
    for _ in range(patches):
        centre = rng.normal(ground.eye.fovea, 3.3 * ground.macular_unit, 2)
        for _ in range(5):
            lobe = centre + rng.normal(0, 3.4 * ground.macular_unit, 2)
            canvas.polygon(blob(lobe, rng, radius=rng.uniform(3.4, 6) * ground.macular_unit, unevenness=0.12))
    return Painted(canvas.coverage(blur_px=0.15))


def choroid_seen_through(ground: Ground, rng: np.random.Generator) -> Floats:
    """Coverage [S, S] of wide choroidal vessels, to be seen where the pigment epithelium is gone."""
    canvas = Canvas(ground.eye.image_px)
    curves = np.stack(
        [_curl(rng.normal(ground.eye.fovea, 0.16, 2), rng, length=rng.uniform(0.25, 0.5)) for _ in range(14)]
    )
    for outline in ribbons(curves, width=np.full((14, 1), 1.6 * ground.unit)):
        canvas.polygon(outline)
    return canvas.coverage(blur_px=0.4)


def subretinal_blood(ground: Ground, rng: np.random.Generator) -> Painted:
    """A dark red pool below the macula, under the vessels, with lobes."""
    eye = ground.eye
    canvas = Canvas(eye.image_px)
    centre = rng.normal(eye.fovea, 0.05, 2)
    size = rng.uniform(6, 11) * ground.macular_unit
    for _ in range(5):
        lobe = centre + np.clip(rng.normal(0, 0.45 * size, 2), -0.7 * size, 0.7 * size)
        canvas.polygon(blob(lobe, rng, radius=size * rng.uniform(0.6, 0.9), unevenness=0.18), strength=1)
    return Painted(canvas.coverage(blur_px=1.1))


def detachment(ground: Ground, rng: np.random.Generator) -> Painted:
    """A bullous detachment that comes in from the edge of a wide field, up to a convex border near the arcades."""
    x, y = grid(ground.eye.image_px)
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)]) * ground.reach
    edge = rng.uniform(0.28, 0.5)
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.hypot(*away)
    across = -x * np.sin(angle) + y * np.cos(angle)
    wave = 0.05 * np.sin(rng.uniform(5, 8) * across + rng.uniform(0, 6)) + 0.03 * np.sin(
        13 * across + rng.uniform(0, 6)
    )
    border = along - edge - rng.uniform(0.2, 0.5) * across**2 + wave
    coverage = np.clip(0.5 + border / np.float32(0.035), 0, 1)
    return Painted(np.asarray(coverage, dtype=np.float32))


def folds(ground: Ground, rng: np.random.Generator) -> Floats:
    """Light and shade [S, S] about 0 of the folds of a detached retina."""
    x, y = grid(ground.eye.image_px)
    angle = rng.uniform(0, np.pi)
    bend = 0.25 * _cloud(rng, ground.eye.image_px, cells=5)
    phase = (x * np.cos(angle) + y * np.sin(angle) + bend) * rng.uniform(16, 24)
    wide = _cloud(rng, ground.eye.image_px, cells=7)
    return np.asarray(0.5 * np.sin(phase) * (0.6 + 0.5 * wide) + 0.6 * wide, dtype=np.float32)


def break_in(ground: Ground, rng: np.random.Generator, *, within: NDArray[np.bool_]) -> Painted:
    """A horseshoe tear in the detached part `within` [S, S]: the red choroid shows, with a pale flap."""
    canvas = Canvas(ground.eye.image_px)
    deep = ndimage.binary_erosion(within, iterations=ground.eye.image_px // 24)
    rows, columns = np.nonzero(deep)
    if rows.size:
        x, y = grid(ground.eye.image_px)
        pick = int(rng.integers(rows.size))
        centre = np.array([x[rows[pick], columns[pick]], y[rows[pick], columns[pick]]])
        size = rng.uniform(2.6, 4.2) * ground.unit
        turn = np.arctan2(*-centre[::-1]) + rng.normal(0, 0.3)  # its open end looks to the periphery
        arc = np.linspace(-2.2, 2.2, 18)
        inner = np.linspace(2.0, -2.0, 18)
        shape = np.concatenate(
            [np.stack([np.cos(arc), np.sin(arc)], -1), 0.45 * np.stack([np.cos(inner), np.sin(inner)], -1)]
        )
        cos, sin = np.cos(turn), np.sin(turn)
        canvas.polygon(centre + size * shape @ np.array([[cos, sin], [-sin, cos]]))
    return Painted(canvas.coverage())


def _cloud(rng: np.random.Generator, image_px: int, *, cells: int) -> Floats:
    """Smooth noise [S, S] about 0 with this many humps across."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((image_px, image_px), Image.Resampling.BICUBIC))
