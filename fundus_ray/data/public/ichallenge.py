"""What the iChallenge sets (ADAM, PALM, REFUGE) share: places of the fovea, and lesion masks that are black on white.

In: table rows and mask folders. Out: a place [px], and the masks of one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fundus_ray.data.public.mask_values import grey_values
from fundus_ray.data.public.reading import Files, RowError

LESION_VALUE = 0  # grey value of the lesion; the rest is 255


def fovea_of(row: Mapping[str, str]) -> tuple[float, float] | None:
    """(x, y) [px] out of `Fovea_X` and `Fovea_Y`; None where both are empty, absent or 0, which is how the sets write
    that no fovea is visible. Raises RowError where one is no number or negative."""
    texts = row.get("Fovea_X", ""), row.get("Fovea_Y", "")
    if all(text in {"", "0", "0.0"} for text in texts):
        return None
    try:
        x, y = float(texts[0]), float(texts[1])
    except ValueError:
        x, y = -1.0, -1.0
    if not (x >= 0 and y >= 0):
        said = f"Fovea_X, Fovea_Y are {texts[0]!r}, {texts[1]!r}"
        raise RowError("unknown code", f"{said}; allowed are two numbers from 0")
    return x, y


def masks_of(stem: str, folder: str, lesions: Mapping[str, str], files: Files) -> dict[str, Path]:
    """Finding id -> mask, of the image called `stem`; an absent lesion has no file, or one without a black pixel.
    `lesions`: sub-folder -> id. Raises RowError where a mask is damaged."""
    found = {finding: files.find_any(f"{folder}/{name}/{stem}.bmp") for name, finding in lesions.items()}
    return {finding: path for finding, path in found.items() if path is not None and LESION_VALUE in grey_values(path)}
