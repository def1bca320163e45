"""The anatomy of a drawn eye: geometry, retinal vessels, background, optic disc.

In: random generators and the few numbers that disease may change. Out: float32 colour images [H, W, 3] in [0, 1] and
coverage maps [H, W] in [0, 1]. Lengths are in field radii (the field of view is the unit circle at the origin, x right,
y down) unless a name ends in `_px`: pixels of a 112 px image. Every eye is drawn as a right eye, disc on the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]

FIELD = 0.97  # radius of the field of view as a share of half the image's side
PX = 2.0 / 112 / FIELD  # one pixel of a 112 px image, in field radii
CURVE_POINTS = 28


class Canvas:
    """Coverage drawn at a multiple of the resolution and averaged down, so that thin shapes have soft, true edges."""

    def __init__(self, image_px: int) -> None:
        self._image_px = image_px
        self._factor = 3 if image_px <= 336 else 2
        side = image_px * self._factor
        self._centre, self._scale = side / 2, side / 2 * FIELD
        self._image = Image.new("L", (side, side))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: NDArray[np.floating], *, strength: float = 1.0) -> None:
        """Fills the outline `points` [P, 2]."""
        corners = (points * self._scale + self._centre).ravel().tolist()
        self._draw.polygon(corners, fill=round(255 * strength))

    def spot(self, x: float, y: float, *, radius: float, strength: float = 1.0) -> None:
        """Fills a circle."""
        cx, cy, r = x * self._scale + self._centre, y * self._scale + self._centre, radius * self._scale
        self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=round(255 * strength))

    def coverage(self, *, blur_px: float = 0.0) -> Floats:
        """What is drawn, as [H, W] in [0, 1]."""
        small = self._image.reduce(self._factor)
        if blur_px:
            small = small.filter(ImageFilter.GaussianBlur(blur_px * self._image_px / 112))
        return np.asarray(small, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye before it has any lesion. The frame (temporal, down) at the disc turns with the eye."""

    image_px: int
    disc: tuple[float, float]
    disc_radius: float
    fovea: tuple[float, float]
    cup_ratio: float  # cup / disc diameter
    artery_px: float
    vein_px: float
    artery_paleness: float  # 0 = red, 1 = copper wire
    vein_wave_px: float  # amplitude of the veins' windings
    sector: int  # -1 / +1: lesions keep to the upper / lower half (vein occlusion); 0: anywhere

    def place(self, u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points [..., 2] from distances temporal of (u) and below (v) the disc."""
        axis = np.subtract(self.fovea, self.disc)
        axis = axis / np.hypot(*axis)
        down = np.array([-axis[1], axis[0]]) * (1 if axis[0] > 0 else -1)
        return np.asarray(self.disc + np.multiply.outer(u, axis) + np.multiply.outer(v, down))

    @property
    def fovea_distance(self) -> float:
        """From disc centre to fovea."""
        return float(np.hypot(self.fovea[0] - self.disc[0], self.fovea[1] - self.disc[1]))


def draw_eye(
    rng: np.random.Generator,
    *,
    image_px: int,
    enlarged_cup: float = 0.0,
    arteriolar_narrowing: float = 0.0,
    venous_tortuosity: float = 0.0,
    sector: int = 0,
) -> Eye:
    """An eye from `rng`. The three findings of anatomy are given as severities in (0, 1], or 0 where absent."""
    disc = (rng.uniform(0.36, 0.5), rng.uniform(-0.1, 0.06))
    distance, tilt = rng.uniform(0.64, 0.74), rng.uniform(-0.02, 0.2)
    cup, artery, vein, wave = (
        rng.uniform(0.24, 0.4),
        rng.uniform(1.55, 1.9),
        rng.uniform(2.0, 2.4),
        rng.uniform(0.2, 0.5),
    )
    radius = rng.uniform(0.155, 0.18)
    if enlarged_cup:
        cup = 0.71 + 0.17 * enlarged_cup
    if arteriolar_narrowing:
        artery = 0.85 - 0.4 * arteriolar_narrowing
    if venous_tortuosity:
        vein, wave = vein + 0.7 + 0.8 * venous_tortuosity, 1.5 + 1.2 * venous_tortuosity
    return Eye(
        image_px=image_px,
        disc=disc,
        disc_radius=radius,
        fovea=(disc[0] - distance * math.cos(tilt), disc[1] + distance * math.sin(tilt)),
        cup_ratio=cup,
        artery_px=artery,
        vein_px=vein,
        artery_paleness=arteriolar_narrowing,
        vein_wave_px=wave,
        sector=sector,
    )


def draw_vessels(eye: Eye, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Coverage [H, W] of the arteries and of the veins: four trunks each, with branches."""
    curves, widths, waves = [], [], []
    for width_px, wave_px, shift in ((eye.artery_px, 0.4, 0.82), (eye.vein_px, eye.vein_wave_px, 1.12)):
        u, v = _trunks(rng, shift=shift)
        fork_u, fork_v = _branches(u, v, rng)
        curves.append(eye.place(np.concatenate([u, fork_u]), np.concatenate([v, fork_v])))
        calibre = np.where(np.arange(len(u) + len(fork_u)) < len(u), 1.0, 0.62)[:, None] * PX
        widths.append(calibre * width_px)
        waves.append(calibre * wave_px)
    wave = np.concatenate(waves)
    points = wind(np.concatenate(curves), rng, amplitude=wave, wavelength=np.where(wave > 0.6 * PX, 0.3, 0.6))
    outlines = ribbons(points, width=np.concatenate(widths))
    layers = []
    for half in np.split(outlines, 2):
        canvas = Canvas(eye.image_px)
        for outline in half:
            canvas.polygon(outline)
        layers.append(canvas.coverage())
    return layers[0], layers[1]


def _trunks(rng: np.random.Generator, *, shift: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(u, v), each [4, P]: two temporal arcades, parabolas about the macula, and two nasal vessels."""
    s = np.linspace(0.02, 1, CURVE_POINTS)
    side = np.array([[-1.0], [1.0]])
    reach = rng.uniform(0.8, 0.95, (2, 1))
    opening = 0.5 * shift * rng.uniform(0.85, 1.15, (2, 1))
    arcade_u = (reach * s) ** 2 / opening - 0.06 * np.sin(np.pi * s)
    arcade_v = side * reach * s * (1 - 0.18 * s**2)
    angle = rng.uniform(0.5, 1.0, (2, 1)) * shift
    run = rng.uniform(0.55, 0.8, (2, 1)) * s
    nasal_u, nasal_v = -run * np.cos(angle - 0.3 * s), side * run * np.sin(angle - 0.3 * s)
    return np.concatenate([arcade_u, nasal_u]), np.concatenate([arcade_v, nasal_v])


def _branches(
    u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(u, v), each [16, P]: four forks of each trunk, to either side in turn, bending back along it."""
    s = np.linspace(0, 1, CURVE_POINTS)
    trunk = np.repeat(np.arange(4), 4)
    at = np.tile([6, 11, 16, 21], 4) + rng.integers(-2, 3, 16)
    du, dv = np.gradient(u, axis=1)[trunk, at], np.gradient(v, axis=1)[trunk, at]
    turn = np.tile([1, -1], 8) * rng.uniform(0.5, 1.0, 16)
    heading = np.arctan2(dv, du)[:, None] + turn[:, None] * (1 - 0.5 * s)
    step = rng.uniform(0.3, 0.5, 16)[:, None] / CURVE_POINTS
    start_u, start_v = u[trunk, at][:, None], v[trunk, at][:, None]
    return start_u + np.cumsum(step * np.cos(heading), axis=1), start_v + np.cumsum(step * np.sin(heading), axis=1)


def wind(
    points: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    amplitude: NDArray[np.float64],
    wavelength: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Curves [K, P, 2] swung from side to side along their length; amplitude and wavelength [K, 1]."""
    length, normal = _steps(points)
    phase, pace, size = rng.random((3, len(points), 1))
    turns = np.cumsum(length, axis=1) / (wavelength * (0.8 + 0.4 * pace)) + phase
    swing = np.sin(2 * np.pi * turns) * (0.7 + 0.5 * size)
    grow = np.linspace(0, 1, CURVE_POINTS) ** 0.3
    return np.asarray(points + normal * (amplitude * swing * grow)[..., None])


def ribbons(points: NDArray[np.float64], *, width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outlines [K, 2P, 2] of curves [K, P, 2] that taper to half of `width` [K, 1]."""
    _, normal = _steps(points)
    half = normal * (width / 2 * np.linspace(1, 0.5, CURVE_POINTS))[..., None]
    return np.concatenate([points + half, (points - half)[:, ::-1]], axis=1)


def _steps(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length [K, P] of the step at each point of curves [K, P, 2], and the unit normals [K, P, 2]."""
    step = np.empty_like(points)
    step[:, 1:-1] = (points[:, 2:] - points[:, :-2]) / 2
    step[:, 0], step[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    length = np.hypot(step[..., 0], step[..., 1])
    return length, np.stack([-step[..., 1], step[..., 0]], axis=-1) / length[..., None]


@lru_cache(maxsize=8)
def grid(image_px: int) -> tuple[Floats, Floats]:
    """(x, y), each [H, W], of every pixel's centre."""
    line = ((np.arange(image_px, dtype=np.float32) + 0.5) * 2 / image_px - 1) / np.float32(FIELD)
    return np.broadcast_to(line, (image_px, image_px)), np.broadcast_to(line[:, None], (image_px, image_px))


@lru_cache(maxsize=8)
def field_of_view(image_px: int) -> NDArray[np.bool_]:
    """[H, W]: inside the round field of view."""
    x, y = grid(image_px)
    return np.asarray(x**2 + y**2 < 1)


def disc_coverage(eye: Eye, *, ratio: float, edge: float) -> Floats:
    """[H, W]: a slightly upright ellipse about the disc's centre, `ratio` times its size, `edge` soft."""
    x, y = grid(eye.image_px)
    distance = np.sqrt(((x - eye.disc[0]) / 0.93) ** 2 + (y - eye.disc[1]) ** 2)
    return np.clip((eye.disc_radius * ratio - distance) / np.float32(edge) + np.float32(0.5), 0, 1)


def paint_retina(eye: Eye, rng: np.random.Generator) -> Floats:
    """Background, macula, optic disc and cup, in colour [H, W, 3]; no vessels yet."""
    x, y = grid(eye.image_px)
    base = np.array([0.82, 0.38, 0.19]) * rng.uniform([0.9, 0.8, 0.6], [1.12, 1.2, 1.4])
    coarse = Image.fromarray(rng.standard_normal((9, 9)).astype(np.float32))
    texture = np.asarray(coarse.resize((eye.image_px, eye.image_px), Image.Resampling.BICUBIC))
    from_fovea = (x - eye.fovea[0]) ** 2 + (y - eye.fovea[1]) ** 2
    shade = 1 + 0.035 * texture
    shade -= rng.uniform(0.16, 0.28) * np.exp(-from_fovea / np.float32(0.07))
    shade -= rng.uniform(0.12, 0.25) * np.exp(-from_fovea / np.float32(0.006))
    from_disc = (x - eye.disc[0]) ** 2 + ((y - eye.disc[1]) * 0.7) ** 2
    shade += 0.12 * np.exp(-from_disc / np.float32(0.12))
    image = np.asarray(shade[..., None] * base, dtype=np.float32)
    rim = np.array([0.96, 0.66, 0.38]) * rng.uniform(0.95, 1.05, 3)
    cup = np.array([1.0, 0.90, 0.68]) * rng.uniform(0.96, 1.02, 3)
    image = blend(image, disc_coverage(eye, ratio=1, edge=2.2 * PX), colour=rim)
    return blend(image, disc_coverage(eye, ratio=eye.cup_ratio, edge=2.0 * PX), colour=cup)


def paint_vessels(image: Floats, eye: Eye, *, arteries: Floats, veins: Floats) -> Floats:
    """Darkens [H, W, 3] under the vessels; veins darker than arteries."""
    red = np.array([0.88, 0.50, 0.46]) * (1 - eye.artery_paleness) + np.array([0.98, 0.62, 0.5]) * eye.artery_paleness
    image = image * (1 - veins[..., None] * (1 - np.array([0.66, 0.32, 0.42], dtype=np.float32)))
    return np.asarray(image * (1 - arteries[..., None] * (1 - red.astype(np.float32))), dtype=np.float32)


def photograph(image: Floats, eye: Eye, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera makes of [H, W, 3]: uneven light, slight blur, noise, black outside the field."""
    x, y = grid(eye.image_px)
    lx, ly = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    light = rng.uniform(0.95, 1.12) * (1 - rng.uniform(0.22, 0.4) * ((x - lx) ** 2 + (y - ly) ** 2))
    lit = image * np.maximum(light, 0.15)[..., None]
    lit += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.008, 0.02))
    lit *= field_of_view(eye.image_px)[..., None] * np.float32(255)
    pixels = Image.fromarray(np.clip(lit, 4, 255, out=lit).astype(np.uint8))
    return np.asarray(pixels.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.4) * eye.image_px / 112)))


def blend(image: Floats, coverage: Floats, *, colour: NDArray[np.floating] | tuple[float, ...]) -> Floats:
    """`colour` (RGB in [0, 1]) laid over [H, W, 3] where `coverage` [H, W] says."""
    return np.asarray(image + coverage[..., None] * (np.asarray(colour, dtype=np.float32) - image), dtype=np.float32)
