"""FIVES: 800 colour photographs; the letter at the end of a file name tells the disease."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.layout import first_of, images_in
from fundus_ray.data.public.reading import RowError, attempt
from fundus_ray.types import Modality

NAME = "fives"
SPLITS = ("train", "test")
DISEASES: dict[str, tuple[str, ...]] = {
    "A": ("age-related macular degeneration",),
    "D": ("diabetic retinopathy",),
    "G": ("glaucoma",),
    "N": (),
}


def row_of(image: Path, *, split: str) -> Labelled:
    """One image, named `<number>_<letter>.png`. The set names no patients, so each image counts as its own."""
    letter = image.stem.rpartition("_")[2].upper()
    if letter not in DISEASES:
        raise RowError("unknown code", f"image {image.name!r} ends in none of _{', _'.join(DISEASES)}")
    key = f"{split}/Original/{image.name}"
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=key,
        official_split=split,
        diagnoses=DISEASES[letter],
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every photograph of both splits. Raises DataError where one is missing."""
    for split in SPLITS:
        folder = root / first_of(root, f"{split}/Original", what=f"images of {split}")
        for image in images_in(folder):
            yield attempt(NAME, f"{split}/Original/{image.name}", partial(row_of, image, split=split))


SET = PublicSet(
    name=NAME,
    title="FIVES",
    modality=Modality.CFP,
    licence="see its page",
    url="https://doi.org/10.6084/m9.figshare.19688169",
    patient_key="",
    citation="Jin et al., FIVES: A Fundus Image Dataset for AI-based Vessel Segmentation, Scientific Data 2022",
    read=read,
    space=Space(conditions=once(DISEASES.values())),
)
