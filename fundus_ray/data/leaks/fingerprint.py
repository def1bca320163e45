"""A perceptual hash of a retinal image: 512 bits that a copy keeps and another image does not.

In: an image. Out: its fingerprint, uint64 [8], or None where the image is flat. A copy may have been scaled (also with
another aspect ratio), compressed again, cut to its field or padded with black, mirrored or turned by 180 degrees, and
its brightness changed. Our own choice, after the sign of DCT coefficients of the common pHash, with three changes that
retinal images ask for:
- the black border is cut off first, and what lies outside the ellipse in the rest counts for nothing;
- slow changes of light are taken out, which else make all fundus photographs alike;
- bits are signs, not comparisons with a median, so that a mirrored image's bits follow from the image's: coefficients
  that are odd along the mirrored axis change sign.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from fundus_ray.data.images import DECODE_ERRORS, one_line
from fundus_ray.data.places import read_bytes
from fundus_ray.errors import DataError

Words = NDArray[np.uint64]  # [8]: the first holds the 64 lowest frequencies

FINGERPRINT_VERSION = 2  # raise it, and the store's FORMAT, whenever an image's bits change
BITS, WORDS = 512, 8
FILES_A_TASK = 32  # of each process at a time
SIDE = 64  # the field is scaled to SIDE x SIDE
READ_PX = 512  # larger images are first reduced to about this side, by the JPEG decoder where it can
DARK, DARK_SHARE = 8.0, 0.12  # black border: darker than this grey level, or this share of the brightest percentile
# Of an OCT scan: its vitreous is about as dark as that, so that copies of one scan would be cut in different places.
DARK_IN_SCANS = 3.0
COLOURLESS = 0.05  # a picture is a scan where its channels differ by less than this share of its mean brightness
FIELD_PX, FIELD_BLUR = 256, 1.5  # the border is looked for at this size, so that speckle of OCT does not decide
LINE_SHARE = 0.05  # a row or column belongs to the field where at least this share of it is not dark
SMALLEST_FIELD = 32  # [px of FIELD_PX] below which nothing is cut off
SLOW = SIDE / 6  # standard deviation [px of SIDE] of the light that is taken out
FLAT = 0.5  # grey levels: below this root mean square nothing is left to compare


def _frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, column) indices of the coefficients, lowest first, without the four lowest, which are light."""
    row, column = np.indices((SIDE, SIDE))
    far = (row**2 + column**2).ravel()
    order = np.lexsort((column.ravel(), row.ravel(), far))
    chosen = order[far[order] >= 4][:BITS]
    return row.ravel()[chosen], column.ravel()[chosen]


def _window() -> NDArray[np.float64]:
    """[SIDE, SIDE]: 1 within 0.85 of the inscribed circle's radius, falling to 0 at the circle."""
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    radius = np.hypot(axis[:, None], axis[None, :])
    return np.asarray(np.clip((1 - radius) / 0.15, 0, 1))


_ROWS, _COLUMNS = _frequencies()
_WINDOW = _window()
_WINDOW_LIGHT = np.maximum(gaussian_filter(_WINDOW, SLOW), 1e-6)


def _words(bits: NDArray[np.bool_]) -> Words:
    return np.packbits(bits).view(np.uint64)


# What a fingerprint is XORed with to become that of the image as named.
ORIENTATIONS: dict[str, Words] = {
    "upright": _words(np.zeros(BITS, dtype=bool)),
    "mirrored": _words(_COLUMNS % 2 == 1),
    "upside down": _words(_ROWS % 2 == 1),
    "turned by 180 degrees": _words((_ROWS + _COLUMNS) % 2 == 1),
}


def fingerprint(image: Image.Image) -> Words | None:
    """The image's fingerprint; None where its field is flat, so that all such images would seem to be copies."""
    values = _field(_small(image), scan=_is_scan(image))
    light = gaussian_filter(values * _WINDOW, SLOW) / _WINDOW_LIGHT
    detail = (values - light) * _WINDOW
    if np.sqrt(np.mean(detail**2)) < FLAT:
        return None
    return _words(dctn(detail, norm="ortho")[_ROWS, _COLUMNS] > 0)


def file_fingerprints(paths: Sequence[str], *, workers: int) -> Iterator[Words | None]:
    """Of many files, in order, by `workers` processes. Raises DataError on the first that cannot be read."""
    if workers == 1 or len(paths) < FILES_A_TASK:
        yield from map(file_fingerprint, paths)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(file_fingerprint, paths, chunksize=FILES_A_TASK)


def file_fingerprint(path: str | Path) -> Words | None:
    """As `fingerprint`, of an image file. Raises DataError where it is missing or damaged."""
    return content_fingerprint(read_bytes(path), name=str(path))


def content_fingerprint(content: bytes, *, name: str) -> Words | None:
    """As `fingerprint`, of an image file's content. Raises DataError, naming it, where it is damaged."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (READ_PX, READ_PX))
            return fingerprint(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as err:
        raise DataError(f"image {name} is too large: {one_line(err)}") from None
    except DECODE_ERRORS as err:
        raise DataError(f"image {name} is damaged or not an image: {one_line(err)}") from None


def field_box(grey: Image.Image, *, scan: bool = False) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) [px] of what is not black border; all of it where little is left."""
    small = np.asarray(grey.resize((FIELD_PX, FIELD_PX), Image.Resampling.BILINEAR), dtype=np.float64)
    level = gaussian_filter(small, FIELD_BLUR)
    bright = level > (DARK_IN_SCANS if scan else max(DARK, DARK_SHARE * float(np.percentile(level, 99))))
    columns, rows = (np.flatnonzero(bright.mean(axis=axis) >= LINE_SHARE) for axis in (0, 1))
    if min(columns.size, rows.size) < SMALLEST_FIELD:
        return 0, 0, grey.width, grey.height
    across, down = grey.width / FIELD_PX, grey.height / FIELD_PX
    return columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down


def _small(image: Image.Image) -> Image.Image:
    """Its green channel, where vessels show best, at most about READ_PX wide and high."""
    factor = max(image.size) // READ_PX
    small = image.convert("RGB").getchannel("G")
    return small.reduce(factor) if factor > 1 else small


def _field(grey: Image.Image, *, scan: bool) -> NDArray[np.float64]:
    """The field, scaled to [SIDE, SIDE]."""
    box = field_box(grey, scan=scan)
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box), dtype=np.float64)


def _is_scan(image: Image.Image) -> bool:
    """Whether the picture is without colour, as OCT scans are and photographs are not."""
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
    return float(np.ptp(pixels, axis=2).mean()) < COLOURLESS * max(float(pixels.mean()), 1.0)
