"""Images by reference: decoded once in full when a data set is loaded, read again where the policy needs pixels.

In: a path. Out: an `ImageRef` (path, sha256 of the bytes, size in pixels), or an RGB image of 8 bits a channel.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from fundus_ray.data.places import read_bytes
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef

# What Pillow's decoders raise on damaged files; a bare OSError covers truncation and unknown formats, and a damaged
# header can state a size that Pillow refuses.
DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error),
    Image.DecompressionBombError,
)


def image_ref(path: str | Path) -> ImageRef:
    """The reference of an image file that decodes in full. Raises DataError where it is missing or damaged."""
    content = read_bytes(path)
    image = _decode(content, path)
    return ImageRef(str(path), hashlib.sha256(content).hexdigest(), width_px=image.width, height_px=image.height)


def read_pixels(ref: ImageRef) -> Image.Image:
    """The image as RGB, upright by its EXIF tag. Raises DataError where the file is gone, damaged or changed since."""
    return _decode(_content(ref), ref.path)


def unreadable(images: Sequence[ImageRef]) -> dict[int, str]:
    """place -> why, of images that are gone or have changed. The others decode, as they did when their data set was
    loaded; they are read, and not decoded again."""
    reasons = {}
    for place, ref in enumerate(images):
        try:
            _content(ref)
        except DataError as err:
            reasons[place] = str(err)
    return reasons


def pixels_at(path: str | Path) -> Image.Image:
    """The image at the path as RGB, upright by its EXIF tag. Raises DataError where it is missing or damaged."""
    return _decode(read_bytes(path), path)


def misfit(mask: Path, *, size: tuple[int, int], image: tuple[int, int]) -> str:
    """Why a mask cannot be laid over its image, by the (width, height) [px] of both; "" where it can."""
    (width, height), (across, down) = size, image
    said = f"mask {mask} is {width} x {height} px but its image {across} x {down} px: crop and scale both alike"
    return "" if size == image else said


def _content(ref: ImageRef) -> bytes:
    content = read_bytes(ref.path)
    if hashlib.sha256(content).hexdigest() != ref.sha256:
        raise DataError(f"image {ref.path} has changed since the data set was loaded (its sha256 differs)")
    return content


def _decode(content: bytes, path: str | Path) -> Image.Image:
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as err:
        raise DataError(f"image {path} is too large: {one_line(err)}") from None
    except DECODE_ERRORS as err:
        raise DataError(f"image {path} is damaged or not an image: {one_line(err)}") from None
    if upright.mode[0] in "IF":
        raise DataError(f"image {path} has more than 8 bits a channel (mode {upright.mode}); save it with 8 bits")
    return upright.convert("RGB")


def one_line(err: BaseException) -> str:
    """Its text on one line."""
    # Pillow names the in-memory buffer it was given, which tells a user nothing.
    text = " ".join(str(err).split())
    return "unknown format" if "BytesIO" in text else text or type(err).__name__
