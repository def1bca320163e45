"""Which image of which public set a path means, whoever wrote it: a set's reader or a benchmark.

In: a data set's name (or none) and a path, with `/` or `\\`. Out: an `ImageName`: equal for the same image, and its
patient where the name tells. Only the end of a path counts, as everybody unpacks the sets elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ImageName:
    """`image` is unique within `family`, so is `patient`; `patient` is "" where the name does not tell."""

    family: str
    image: str
    patient: str


@dataclass(frozen=True, slots=True)
class _Family:
    """Sets that share their images' names.

    known_as: names of the set, in small letters and digits only; longer ones also count by how a name begins.
    tail: how many of a path's last parts tell its images apart. patient: what of the last two names patient or volume.
    within: a part of the path that makes a family of its own, as its numbers are those of other people.
    parts: in a folder's name, what tells the set's parts apart; the rest of it differs between releases.
    """

    name: str
    known_as: tuple[str, ...]
    tail: int = 1
    patient: str = ""
    within: str = ""
    parts: str = ""


# File names are unique within these sets unless `tail` says otherwise. Too few distinctions only leave out too much.
_FAMILIES = (
    _Family(
        "eyepacs",
        # Retinal-Lesions is a part of it, and is taken to keep its file names.
        ("eyepacs", "kaggledr", "kaggleeyepacs", "diabeticretinopathydetection", "retinallesions"),
        patient=r"(?:^|/)(\d+)_(?:left|right)",
    ),
    _Family("aptos", ("aptos",)),
    _Family("idrid", ("idrid",), tail=2),  # both halves count from 1
    _Family("messidor 2", ("messidor",)),
    _Family("ddr", ("ddr", "ddrdataset")),
    _Family("odir", ("odir", "oiaodir"), patient=r"(?:^|/)(\d+)_(?:left|right)"),
    # Each part counts from 1; the challenge's folder is "a. Training Set", Kaggle's is "Training".
    _Family("rfmid", ("rfmid",), tail=2, parts="train|valid|test"),
    _Family("jsiec", ("jsiec",)),
    _Family("fives", ("fives",), tail=3),  # train/Original/1_A.png
    _Family("deepdrid", ("deepdrid",), patient=r"(?:^|/)(\d+)_[lr]\d", within="ultra-widefield"),
    # The number before _ names no patient: people are told apart by the column ID of the table alone.
    _Family("top", ("top", "topuwf", "tsukazaki")),
    _Family("oct2017", ("oct2017", "ucsd", "kermany"), patient=r"(?:^|/)[A-Z]+-(\d+)-"),
    _Family("octdl", ("octdl",)),
    _Family("octid", ("octid",)),
    _Family("mmc-amd", ("mmcamd",), patient=r"(?:^|/)[fo]-[hdpw]-(.+?)(?:-[lr])?(?:_\w+)?$"),
    _Family("retouch", ("retouch",), patient=r"((?:TRAIN|TEST)\d{3})"),
)
WHOLE_NAME = 4  # names of fewer letters count only where they are the whole name
UNKNOWN_TAIL = 2


def image_name(path: str, *, source: str = "") -> ImageName:
    """The name of the image at `path`: of the first known set that `source`, or else a part of the path, is named
    after; where none is, of the source or the path's first part."""
    parts = [part.strip() for part in path.replace("\\", "/").split("/") if part.strip()]
    spoken = [source, *parts[:-1]] if source else parts
    family = next((found for one in spoken if (found := _family(one))), None)
    family = family or _Family(plain(spoken[0]), (), tail=UNKNOWN_TAIL)
    stem = re.sub(r"\.[A-Za-z]{2,4}$", "", parts[-1])
    title = family.name
    if family.within and any(family.within in part.casefold() for part in parts):
        title = f"{title} {family.within}"
    tail = "/".join([*parts[-2:-1], stem])  # a volume's folder, or the file
    patient = re.search(family.patient, tail, re.IGNORECASE) if family.patient else None
    folders = [_part(folder, family) for folder in parts[-family.tail : -1]]
    return ImageName(
        family=title,
        image="/".join([*folders, stem]).casefold(),
        patient=patient.group(1).casefold() if patient else "",
    )


def _part(folder: str, family: _Family) -> str:
    """What of a folder's name counts."""
    part = re.search(family.parts, folder, re.IGNORECASE) if family.parts else None
    return part.group() if part else folder


def plain(name: str) -> str:
    """In small letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


@lru_cache(maxsize=4096)  # folders come again and again
def _family(spoken: str) -> _Family | None:
    name = plain(spoken)
    for family in _FAMILIES:
        if any(name == one or (len(one) >= WHOLE_NAME and name.startswith(one)) for one in family.known_as):
            return family
    return None
