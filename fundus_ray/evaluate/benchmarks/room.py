"""Whether a benchmark's largest image fits the model's context: known before an engine starts, not hours into a run.

In: what is to be asked. Out: nothing, or one error that names the image, the limit and what to set. A model's own
processor says how many tokens an image takes, and whether it scales it down first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from fundus_ray.data.images import DECODE_ERRORS
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.evaluate.benchmarks.pictures import AskedImage
from fundus_ray.policy.load import chat_text
from fundus_ray.types import ModelRequest

log = logging.getLogger(__name__)

SIDES_PX = (1344, 1120, 896, 672, 448, 336, 224, 112, 56)  # proposed for --image-px, the first that fits
Shown = tuple[AskedImage, ModelRequest]


def check_room(asked: Mapping[str, Shown], *, processor: Any, max_model_len: int) -> None:
    """asked: question, as in errors -> its image and request. Of the largest images the longest question is tried.

    Raises ConfigError where its prompt and the longest answer are more than `max_model_len` tokens. An image that
    cannot be read is passed over; asking for it will name it.
    """
    sizes = {name: (_area(image), len(request.system) + len(request.user)) for name, (image, request) in asked.items()}
    for name in sorted(asked, key=sizes.__getitem__, reverse=True):
        try:
            pixels = asked[name][0].pixels()
        except DataError:
            continue
        _check(name, *asked[name], pixels=pixels, processor=processor, max_model_len=max_model_len)
        return


def _check(
    name: str, image: AskedImage, request: ModelRequest, *, pixels: Image.Image, processor: Any, max_model_len: int
) -> None:
    try:
        tokens = _tokens(processor, pixels, request)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        log.warning("whether the largest image fits rollout.max_model_len cannot be told beforehand: %s", err)
        return
    needed = tokens + request.max_tokens
    if needed <= max_model_len:
        return
    fits = (px for px in SIDES_PX if _fits(image, request, px=px, processor=processor, max_model_len=max_model_len))
    smaller = next(fits, None)
    instead = "" if smaller is None else f", or scale all images (--image-px {smaller})"
    raise ConfigError(
        f"{name}: the request does not fit: with the largest image, {image.path} of {pixels.width} x "
        f"{pixels.height} px, it is {tokens} tokens, and the answer up to {request.max_tokens} (rollout.max_tokens), "
        f"but rollout.max_model_len={max_model_len}; set rollout.max_model_len higher, to {needed}{instead}"
    )


def _fits(image: AskedImage, request: ModelRequest, *, px: int, processor: Any, max_model_len: int) -> bool:
    scaled = replace(image, px=px).pixels()
    return _tokens(processor, scaled, request) + request.max_tokens <= max_model_len


def _tokens(processor: Any, pixels: Image.Image, request: ModelRequest) -> int:
    """Of the prompt with its image."""
    text = chat_text(processor, system=request.system, user=request.user, with_image=True)
    return len(processor(text=[text], images=[pixels])["input_ids"][0])


def _area(image: AskedImage) -> int:
    """[px], 0 where the file's head cannot be read."""
    if image.px:
        return image.px**2
    try:
        with Image.open(image.path) as opened:
            return opened.width * opened.height
    except DECODE_ERRORS:
        return 0
