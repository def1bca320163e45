"""Lesions of a photographed retina that are drawn one by one: where they are few they can be counted.

In: a `Ground`, a random generator and how many or how large. Out: `Painted`: coverage [S, S], the number drawn where
lesions of the kind are counted, and a mask of its own where the lesion is more than what covers (a tuft's whole area).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fundus_ray.data.rendered.eye import PX, Canvas, Floats
from fundus_ray.data.rendered.ground import GAP, TRIES, Ground, Where


@dataclass(frozen=True, slots=True)
class Painted:
    """number: lesions drawn, 0 = not counted; area: the mask [S, S] where it is not what covers."""

    coverage: Floats
    number: int = 0
    area: NDArray[np.bool_] | None = None


Paint = Callable[[Ground, np.random.Generator], Painted]


def microaneurysms(ground: Ground, rng: np.random.Generator, *, count: int) -> Painted:
    """Tiny round red dots about the macula."""
    canvas, drawn = Canvas(ground.eye.image_px), 0
    for _ in range(count):
        radius = rng.uniform(0.85, 1.2)
        site = ground.site(rng, radius=radius, spread=0.36)
        if site is not None:
            canvas.spot(*site, radius=max(radius * ground.unit, ground.least))
            drawn += 1
    return Painted(canvas.coverage(), drawn)


def blots(
    ground: Ground,
    rng: np.random.Generator,
    *,
    count: int,
    sizes: tuple[float, float] = (1.3, 3.0),
    centre: tuple[float, float] | None = None,
    spread: float = 0.42,
    where: Where | None = None,
    on_vessels: bool = False,
) -> Painted:
    """Dot and blot haemorrhages: dark, round, uneven, with soft edges. sizes: radii [units]."""
    canvas, drawn = Canvas(ground.eye.image_px), 0
    where_free = partial(
        ground.site, rng, centre=centre, spread=spread, clear_of_fovea=0.06, where=where, on_vessels=on_vessels
    )
    for _ in range(count):
        radius = rng.uniform(*sizes)
        site = where_free(radius=radius * 1.2)
        if site is None:  # the smallest may still find room
            radius = sizes[0]
            site = where_free(radius=radius * 1.2)
        if site is not None:
            size = max(radius * ground.unit, 1.5 * ground.least)
            canvas.polygon(blob(site, rng, radius=size, unevenness=0.2))
            drawn += 1
    return Painted(canvas.coverage(blur_px=0.3 * ground.unit / PX), drawn)


def four_quadrants(ground: Ground, rng: np.random.Generator, *, each: int) -> Painted:
    """Haemorrhages in all four quadrants about the disc and macula, `each` of them per quadrant."""
    middle, parts = 0.6 * ground.eye.fovea_distance, []
    for east in (True, False):
        for south in (True, False):
            across, down = (0.36 if east else -0.3), (0.36 if south else -0.36)
            centre = ground.eye.place(np.array(middle + across), np.array(down))
            parts.append(
                blots(
                    ground,
                    rng,
                    count=each,
                    sizes=(0.65, 1.6),
                    centre=(float(centre[0]), float(centre[1])),
                    spread=0.34,
                    where=partial(_in_quadrant, middle=middle, east=east, south=south),
                    on_vessels=True,
                )
            )
    return Painted(np.maximum.reduce([part.coverage for part in parts]), sum(part.number for part in parts))


def _in_quadrant(u: float, v: float, *, middle: float, east: bool, south: bool) -> bool:
    return (u > middle) == east and (v > 0) == south


def _beyond(_: float, v: float, *, side: int, margin: float) -> bool:
    return v * side > margin


def flames(ground: Ground, rng: np.random.Generator, *, count: int, sector: int = 0, dense: bool = False) -> Painted:
    """Flame haemorrhages along the nerve fibres, which run as parabolas v^2 ~ u about the macula: each one piece with a
    point at one end and a brush at the other. sector: -1 / +1 keeps them in the upper / lower half; dense: they run
    into each other, so that their number is not told."""
    canvas, drawn = Canvas(ground.eye.image_px), 0
    for _ in range(count):
        length = rng.uniform(8, 18 if dense else 14) * ground.unit
        side = sector or int(rng.choice([-1, 1]))
        site = ground.site(
            rng,
            radius=(0.1 if dense else 0.5) * length / ground.unit,
            spread=0.4,
            clear_of_fovea=0.1,
            where=partial(_beyond, side=side, margin=0.12),
            on_vessels=True,
        )
        if site is not None:
            u, v = ground.from_disc(site)
            fibre = np.array([1.0, v / (2 * max(u, 0.08))])
            outline = _flame(rng, length=length, width=rng.uniform(2.0, 3.4) * ground.unit)
            fibre /= np.hypot(*fibre)
            turned = np.array([u, v]) + outline @ np.array([fibre, [-fibre[1], fibre[0]]])
            canvas.polygon(ground.eye.place(turned[:, 0], turned[:, 1]))
            drawn += 1
    return Painted(canvas.coverage(blur_px=0.3), drawn * (not dense))


def _flame(rng: np.random.Generator, *, length: float, width: float) -> NDArray[np.float64]:
    """Outline [P, 2], (along, across), centred: a tapered stem and a brush of five bristles."""
    across = np.linspace(-1, 1, 11)
    tips = np.where(np.arange(11) % 2 == 0, rng.uniform(0.32, 0.5, 11), rng.uniform(0.1, 0.24, 11))
    tips -= 0.12 * np.abs(across)
    stem = np.array([[0.1, 0.7], [-0.2, 0.35], [-0.5, 0.0], [-0.2, -0.35], [0.1, -0.7]])
    brush = np.stack([tips, across], axis=-1)
    return np.concatenate([brush, stem]) * [length, width / 1.6]


def cotton_wool(ground: Ground, rng: np.random.Generator, *, count: int, sector: int = 0) -> Painted:
    """Pale clouds with fimbriate edges in the nerve fibre layer, near the arcades."""
    canvas, drawn = Canvas(ground.eye.image_px), 0
    for _ in range(count):
        size = rng.uniform(2.6, 4.4)
        site = ground.site(
            rng,
            radius=1.6 * size,
            clear_of_fovea=0.16,
            spread=0.38,
            where=partial(_beyond, side=sector, margin=0.0) if sector else None,
            on_vessels=True,
        )
        if site is not None:
            for lobe in range(6):
                offset = np.clip(rng.normal(0, 0.3, 2), -0.4, 0.4) * bool(lobe)  # near enough to hang together
                centre = site + offset * size * ground.unit
                canvas.polygon(
                    blob(centre, rng, radius=size * ground.unit * rng.uniform(0.55, 0.75), unevenness=0.3),
                    strength=rng.uniform(0.8, 1),
                )
            drawn += 1
    return Painted(canvas.coverage(blur_px=1.0), drawn)


def hard_exudates(ground: Ground, rng: np.random.Generator, *, groups: int) -> Painted:
    """Sharp yellow specks, in rings about what leaks, and single ones between."""
    canvas = Canvas(ground.eye.image_px)
    for _ in range(groups):
        ring = rng.uniform(3.5, 8)
        site = ground.site(rng, radius=ring, spread=0.26, clear_of_fovea=0.05, on_vessels=True)
        if site is None:
            continue
        start, sweep = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 6)
        for _ in range(int(rng.integers(16, 42))):
            angle = start + sweep * rng.random()
            distance = ring * ground.unit * rng.normal(0.7, 0.26)
            speck = site + distance * np.array([np.cos(angle), np.sin(angle)])
            canvas.polygon(blob(speck, rng, radius=rng.uniform(0.35, 1.05) * ground.unit, unevenness=0.35))
    return Painted(canvas.coverage())


def drusen(
    ground: Ground,
    rng: np.random.Generator,
    *,
    count: int,
    sizes: tuple[float, float],
    apart: bool = False,
    spread: float = 0.15,
) -> Painted:
    """Round yellow deposits at the macula; sizes: radii [units]. Large ones are soft and may run together; those that
    lie `apart` do not, as two of them would look like a larger one."""
    canvas = Canvas(ground.eye.image_px)
    placed: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(count):
        sites = rng.normal(ground.eye.fovea, spread * ground.eye.fovea_distance / 0.7, (TRIES if apart else 1, 2))
        radius = rng.uniform(*sizes) * ground.macular_unit
        near = radius + GAP * ground.macular_unit
        free = (site for site in sites if not apart or all(np.hypot(*(site - o)) > near + r for o, r in placed))
        site = next(free, None)
        if site is not None:
            placed.append((site, radius))
            canvas.polygon(blob(site, rng, radius=radius, unevenness=0.12), strength=rng.uniform(0.75, 1))
    return Painted(canvas.coverage(blur_px=0.35 + 0.12 * sizes[1]))


def pigment_clumps(ground: Ground, rng: np.random.Generator, *, count: int) -> Painted:
    """Small brown-black clumps at the macula."""
    canvas = Canvas(ground.eye.image_px)
    for _ in range(count):
        place = rng.normal(ground.eye.fovea, 0.1 * ground.eye.fovea_distance / 0.7, 2)
        for _ in range(3):
            canvas.polygon(
                blob(
                    place + rng.normal(0, 1.4 * ground.macular_unit, 2),
                    rng,
                    radius=rng.uniform(0.9, 2) * ground.macular_unit,
                    unevenness=0.4,
                )
            )
    return Painted(canvas.coverage(blur_px=0.5))


def bone_spicules(ground: Ground, rng: np.random.Generator, *, count: int) -> Painted:
    """Black pigment with three to five pointed arms each, in a belt of the mid-periphery."""
    canvas, drawn = Canvas(ground.eye.image_px), 0
    for _ in range(count):
        angle = rng.uniform(0, 2 * np.pi)
        belt = 0.62 * np.array([np.cos(angle), np.sin(angle)]) * ground.reach
        site = ground.site(rng, radius=4.6, centre=(belt[0], belt[1]), spread=0.13, on_vessels=True)
        if site is None:
            continue
        drawn += 1
        first = rng.uniform(0, 2 * np.pi)
        canvas.polygon(blob(site, rng, radius=0.85 * ground.unit, unevenness=0.3))
        for arm in range(int(rng.integers(3, 6))):
            heading = first + arm * 2 * np.pi / 4.5 + rng.normal(0, 0.3)
            along = np.array([np.cos(heading), np.sin(heading)]) * rng.uniform(1.8, 3.8) * ground.unit
            across = np.array([-np.sin(heading), np.cos(heading)]) * 0.5 * ground.unit
            elbow = 0.55 * along + across * rng.normal(0, 0.5)
            tip = along + across * rng.normal(0, 0.5)
            outline = [
                -across,
                elbow - 0.9 * across,
                tip - 0.6 * across,
                tip + 0.6 * across,
                elbow + 0.9 * across,
                across,
            ]
            canvas.polygon(site + np.array(outline))
    return Painted(canvas.coverage(), drawn)


def laser_scars(ground: Ground, rng: np.random.Generator, *, count: int) -> Painted:
    """Round pale burns in rows around the posterior pole, as of panretinal photocoagulation."""
    canvas = Canvas(ground.eye.image_px)
    for _ in range(count):
        angle, ring = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.85)
        centre = ring * np.array([np.cos(angle), np.sin(angle)]) * ground.reach
        radius = rng.uniform(1.5, 2.3)
        site = ground.site(rng, radius=radius, centre=(centre[0], centre[1]), spread=0.04, clear_of_fovea=0.25)
        if site is not None:
            canvas.polygon(blob(site, rng, radius=radius * ground.unit, unevenness=0.15), strength=rng.uniform(0.6, 1))
    return Painted(canvas.coverage(blur_px=0.3))


def blob(
    centre: NDArray[np.floating], rng: np.random.Generator, *, radius: float, unevenness: float, corners: int = 12
) -> NDArray[np.float64]:
    """An uneven round outline [corners, 2]."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    r = radius * rng.uniform(1 - unevenness, 1 + unevenness, corners)
    return np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], axis=-1)
