"""The anatomy of an ultra-wide-field photograph, as a scanning laser with a red and a green beam takes it.

In: random generators. Out: an `Eye` whose disc and macula are small in a field that reaches to the periphery, its
vessel tree, and what covers and surrounds the picture. The canvas is square; the picture is its middle rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fundus_ray.data.rendered.eye import CURVE_POINTS, PX, Canvas, Eye, Floats, blend, disc_coverage, grid, ribbons

HEIGHT = 0.8  # of the picture, as a share of its width
FIELD_AXES = (0.985, 0.8)  # half axes of the field of view
REACH = (0.88, 0.66)  # of lesions
UNIT = 0.62 * PX

# First and last heading of a trunk, in radians from temporal, upwards; how far it runs.
TRUNKS = (
    (1.5, -0.2, 1.15),
    (-1.5, 0.2, 1.15),
    (2.45, 3.0, 0.75),
    (-2.45, -3.0, 0.75),
    (1.95, 1.45, 0.65),
    (-1.95, -1.45, 0.65),
)


def draw_wide_eye(
    rng: np.random.Generator, *, image_px: int, arteriolar_narrowing: float = 0.0, venous_tortuosity: float = 0.0
) -> Eye:
    """A right eye. The two findings of anatomy are severities in (0, 1], or 0 where absent."""
    disc = (rng.uniform(0.08, 0.18), rng.uniform(-0.08, 0.04))
    distance, tilt = rng.uniform(0.2, 0.24), rng.uniform(-0.02, 0.2)
    return Eye(
        image_px=image_px,
        disc=disc,
        disc_radius=rng.uniform(0.044, 0.052),
        fovea=(disc[0] - distance * math.cos(tilt), disc[1] + distance * math.sin(tilt)),
        cup_ratio=rng.uniform(0.25, 0.4),
        artery_px=rng.uniform(0.62, 0.78) * (1 - 0.4 * arteriolar_narrowing),
        vein_px=rng.uniform(0.85, 1.0) + 0.5 * venous_tortuosity,
        artery_paleness=arteriolar_narrowing,
        vein_wave_px=rng.uniform(0.18, 0.3) + 1.1 * venous_tortuosity,
        sector=0,
    )


def draw_wide_vessels(eye: Eye, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Coverage [S, S] of arteries and veins: six trunks each, which branch again and again out to the periphery."""
    layers = []
    for width_px, wave in ((eye.artery_px, 0.18), (eye.vein_px, eye.vein_wave_px)):
        curves: list[NDArray[np.float64]] = []
        widths: list[float] = []
        for first, last, run in TRUNKS:
            first, last = first + rng.normal(0, 0.12), last + rng.normal(0, 0.15)
            _grow(
                curves, widths, rng, start=np.zeros(2), headings=(first, last), run=run, wave=wave, width=1.0, order=0
            )
        points = np.stack(curves)
        placed = eye.place(points[..., 0], -points[..., 1])
        canvas = Canvas(eye.image_px)
        for outline in ribbons(placed, width=np.array(widths)[:, None] * width_px * PX):
            canvas.polygon(outline)
        layers.append(canvas.coverage())
    return layers[0], layers[1]


def _grow(
    curves: list[NDArray[np.float64]],
    widths: list[float],
    rng: np.random.Generator,
    *,
    start: NDArray[np.float64],
    headings: tuple[float, float],
    run: float,
    wave: float,
    width: float,
    order: int,
) -> None:
    """One vessel and its branches, appended to `curves` as (temporal, up) [P, 2] from the disc."""
    s = np.linspace(0, 1, CURVE_POINTS)
    heading = headings[0] + (headings[1] - headings[0]) * np.minimum(1, 1.3 * s)
    heading = heading + wave * np.sin(2 * np.pi * (run * rng.uniform(5, 8) * s + rng.random())) * s**0.3
    heading = heading + np.cumsum(rng.normal(0, 0.05, CURVE_POINTS))
    step = run / CURVE_POINTS
    curve = start + np.stack([np.cumsum(step * np.cos(heading)), np.cumsum(step * np.sin(heading))], axis=-1)
    curves.append(curve)
    widths.append(width)
    if order == 3 or run < 0.06:
        return
    forks = (5, 2, 2)[order]
    for fork in range(forks):
        at = int((fork + rng.uniform(0.6, 1.3)) / (forks + 0.6) * CURVE_POINTS)
        if at < CURVE_POINTS - 2:
            turn = (1 if (fork + order) % 2 else -1) * rng.uniform(0.45, 0.95)
            _grow(
                curves,
                widths,
                rng,
                start=curve[at],
                headings=(heading[at] + turn, heading[at] + 0.5 * turn),
                run=run * rng.uniform(0.35, 0.6),
                wave=0.7 * wave,
                width=width * (1 - 0.5 * at / CURVE_POINTS) * rng.uniform(0.55, 0.75),
                order=order + 1,
            )


def paint_wide_retina(eye: Eye, rng: np.random.Generator) -> Floats:
    """Background, macula and disc [S, S, 3] in the two colours of the lasers; no vessels yet."""
    x, y = grid(eye.image_px)
    base = np.array([0.60, 0.36, 0.07]) * rng.uniform([0.88, 0.85, 0.5], [1.1, 1.12, 1.3])
    from_fovea = (x - eye.fovea[0]) ** 2 + (y - eye.fovea[1]) ** 2
    from_middle = x**2 + y**2
    shade = 1 + 0.07 * _noise(rng, eye.image_px, cells=7) + 0.035 * _noise(rng, eye.image_px, cells=25)
    shade -= rng.uniform(0.18, 0.28) * np.exp(-from_fovea / np.float32(0.012))
    shade -= rng.uniform(0.1, 0.2) * np.exp(-from_fovea / np.float32(0.0012))
    image = np.asarray(shade[..., None] * base, dtype=np.float32)
    # The periphery is greener, the posterior pole redder.
    tint = np.clip(from_middle * rng.uniform(0.15, 0.4), 0, 0.5)
    image[..., 0] *= 1 - 0.55 * tint
    image[..., 1] *= 1 + 0.25 * tint - 0.14 * np.exp(-from_fovea / np.float32(0.08))
    choroid = _choroid(eye, rng)[..., None] * np.array([0.02, 0.2, 0.1], dtype=np.float32)
    image = image * (1 - choroid * np.clip(from_middle, 0.25, 1)[..., None])
    rim, cup = np.array([0.86, 0.66, 0.22]), np.array([0.93, 0.88, 0.42])
    image = blend(image, disc_coverage(eye, ratio=1, edge=1.6 * PX), colour=rim)
    return blend(image, disc_coverage(eye, ratio=eye.cup_ratio, edge=1.2 * PX), colour=cup)


def _choroid(eye: Eye, rng: np.random.Generator) -> Floats:
    """Coverage [S, S] of choroidal vessels that run to the four vortex veins."""
    canvas = Canvas(eye.image_px)
    curves = []
    s = np.linspace(0, 1, CURVE_POINTS)[:, None]
    for across, down in ((-0.62, -0.5), (-0.62, 0.5), (0.66, -0.48), (0.66, 0.48)):
        vortex = np.array([across, down]) + rng.normal(0, 0.05, 2)
        for angle in rng.uniform(0, 2 * np.pi, 16):
            far = vortex + rng.uniform(0.2, 0.5) * np.array([np.cos(angle), np.sin(angle)])
            bow = rng.normal(0, 0.06) * np.array([-np.sin(angle), np.cos(angle)])
            curves.append(vortex + (far - vortex) * s + bow * np.sin(np.pi * s))
    for outline in ribbons(np.stack(curves), width=rng.uniform(0.9, 2.2, (len(curves), 1)) * PX):
        canvas.polygon(outline)
    return canvas.coverage(blur_px=0.7)


def paint_wide_vessels(image: Floats, *, arteries: Floats, veins: Floats) -> Floats:
    """Darkens [S, S, 3] under the vessels: green light is taken up by blood, red hardly."""
    image = image * (1 - veins[..., None] * (1 - np.array([0.68, 0.4, 0.4], dtype=np.float32)))
    return np.asarray(image * (1 - arteries[..., None] * (1 - np.array([0.84, 0.52, 0.5], dtype=np.float32))))


def scanned(image: Floats, eye: Eye, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture [S, S, 3] with lids, lashes, noise and a dark surround, and what of it is seen [S, S]."""
    x, y = grid(eye.image_px)
    distance = (np.abs(x) / FIELD_AXES[0]) ** 2.3 + (np.abs(y) / FIELD_AXES[1]) ** 2.3
    lit = np.asarray(image * (1.06 - 0.3 * distance**2)[..., None] * rng.uniform(0.92, 1.1), dtype=np.float32)
    seen = distance < 1
    for side, chance in ((1, 0.75), (-1, 0.4)):
        if rng.random() < chance:
            lid, lashes = _lid(eye.image_px, rng, side=side)
            tone = np.array([0.56, 0.46, 0.26]) * rng.uniform(0.55, 1.0)
            lit = blend(blend(lit, lid, colour=tone), lashes * 0.75, colour=(0.07, 0.06, 0.03))
            seen = seen & (lid < 0.5)
    lit += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.01, 0.02))
    edge = np.clip((1 - distance) / np.float32(0.03), 0, 1)
    pixels = Image.fromarray((np.clip(lit * edge[..., None], 0.008, 1) * 255).astype(np.uint8))
    blurred = pixels.filter(ImageFilter.GaussianBlur(rng.uniform(0.12, 0.25) * eye.image_px / 112))
    return np.asarray(blurred), seen


def _lid(image_px: int, rng: np.random.Generator, *, side: int) -> tuple[Floats, Floats]:
    """Coverage [S, S] of the lower (+1) or upper (-1) lid's edge in the picture, and of its lashes."""
    x, y = grid(image_px)
    height, tilt = rng.uniform(0.58, 0.76), rng.uniform(-0.12, 0.12)
    border = height + tilt * x - 0.14 * (x - rng.uniform(-0.3, 0.3)) ** 2 * (1 if side > 0 else 0.5)
    lid = np.clip(0.5 + (side * y - border) / np.float32(0.1), 0, 1)
    canvas = Canvas(image_px)
    for _ in range(int(rng.integers(7, 18))):
        root_x = rng.uniform(-0.75, 0.75)
        lean, length = root_x * 0.5 + rng.normal(0, 0.25), rng.uniform(0.12, 0.34)
        s = np.linspace(0, 1, CURVE_POINTS)
        across = root_x + lean * length * s + 0.25 * lean * length * s**2
        up = side * (0.82 - length * s)
        outline = ribbons(np.stack([across, up], axis=-1)[None], width=np.array([[1.1 * PX]]))[0]
        canvas.polygon(outline, strength=rng.uniform(0.5, 1))
    return np.asarray(lid, dtype=np.float32), canvas.coverage(blur_px=0.35)


def _noise(rng: np.random.Generator, image_px: int, *, cells: int) -> Floats:
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((image_px, image_px), Image.Resampling.BICUBIC))
