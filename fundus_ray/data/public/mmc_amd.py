"""MMC-AMD: colour photographs and OCT B-scans of one clinic, normal or with dry AMD, PCV or wet AMD.

The class is the letter in an image's id (f-w-ICG-5430: photograph, wet), so the numbers in `annotations/` are not
needed. Split A keeps eyes apart, not patients; split AP keeps patients apart and is taken where both are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.layout import first_of, images_in, located_rows
from fundus_ray.data.public.reading import Files, RowError
from fundus_ray.data.tables import read_lines
from fundus_ray.types import Modality

NAME = "mmc_amd"
DISEASES: dict[str, tuple[str, ...]] = {
    "h": (),
    "d": ("dry age-related macular degeneration",),
    "p": ("polypoidal choroidal vasculopathy",),
    "w": ("neovascular age-related macular degeneration",),
}
# Wet AMD is late AMD; dry AMD can be of any stage, and PCV has none.
AMD_STAGES = {"h": "none", "w": "late"}
IMAGE_ID = re.compile(r"[fo]-([hdpw])-(.+?)(?:-([lr]))?(?:_\w+)?")
SPLITS = ("mmc-amd-splitAP/mmc-amd-splitAP", "mmc-amd-splitAP", "mmc-amd-splitA")


@dataclass(frozen=True, slots=True)
class Kind:
    """The images of one modality."""

    modality: Modality
    ids: str  # list of image ids in a split's ImageSets
    folders: tuple[str, ...]  # below ImageData: as they were taken, then as the authors processed them
    key: str  # FunBench's folder


KINDS = (
    Kind(Modality.CFP, "cfp.txt", ("cfp-448x448", "cfp", "cfp-clahe-448x448"), "ImageData/cfp-448x448"),
    Kind(Modality.OCT, "oct.txt", ("oct", "oct-448x448", "oct-median3x3-448x448"), "ImageData/oct"),
)


def row_of(image_id: str, *, kind: Kind, folder: str, split: str) -> Labelled:
    """One image. The patient is the id without class, eye and slice: a person's eyes can be of two classes."""
    named = IMAGE_ID.fullmatch(image_id)
    if named is None:
        raise RowError("unknown name", f"image {image_id!r} is not named f or o - {' or '.join(DISEASES)} - patient")
    return Labelled(
        source=NAME,
        key=f"{kind.key}/{image_id}.jpg",
        image=Path(folder, f"{image_id}.jpg"),
        modality=kind.modality,
        patient_id=named[2],
        eye=(named[3] or "").upper(),
        official_split=split,
        diagnoses=DISEASES[named[1]],
        amd_stage=AMD_STAGES.get(named[1]),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """The images that the splits list, or all where there is no list. Raises DataError where the images are missing."""
    prefix = next((prefix for prefix in SPLITS if (root / f"{prefix}-train" / "ImageSets").is_dir()), None)
    linked = [f"{prefix}-train/ImageData"] if prefix else []  # the authors link the images into each split
    data = first_of(root, "ImageData", "mmc-amd/ImageData", *linked, what="image folder")
    files = Files(root)
    for kind in KINDS:
        choices = (f"{data}/{folder}" for folder in kind.folders)
        folder = first_of(root, *choices, what=f"{kind.modality.value} images")
        for split in ("train", "val", "test") if prefix else ("",):
            listed = root / f"{prefix}-{split}" / "ImageSets" / kind.ids
            on_disk = ((f"{folder}/{path.name}", path.stem) for path in images_in(root / folder))
            rows = read_lines(listed) if prefix else on_disk
            one = partial(row_of, kind=kind, folder=folder, split=split)
            yield from located_rows(NAME, rows, one, files=files)


SET = PublicSet(
    name=NAME,
    title="MMC-AMD (colour photographs and OCT)",
    modality=Modality.CFP,
    licence="on request, see its page",
    url="https://github.com/li-xirong/mmc-amd",
    patient_key="image id without class, eye and slice",
    citation="Wang et al., Learning Two-Stream CNN for Multi-Modal AMD Categorization, IEEE JBHI 2022",
    read=read,
    space=Space(conditions=once(DISEASES.values())),
)
