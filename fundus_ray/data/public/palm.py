"""PALM (iChallenge-PM): colour photographs with pathologic myopia or without, lesion masks of the training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.ichallenge import LESION_VALUE, fovea_of, masks_of
from fundus_ray.data.public.layout import file_name, image_folder, images_in, located_rows, mask_folders
from fundus_ray.data.public.reading import NO_OR_YES, Files, RowError, attempt, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "palm"
MYOPIA = ("pathologic myopia",)
# First letter of a training image -> (diagnoses, absent). High myopia alone is not pathologic, and not normal either.
LETTERS: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = {
    "P": (MYOPIA, ()),
    "H": (None, MYOPIA),
    "N": ((), ()),
}
LESIONS = {"Atrophy": "chorioretinal_atrophy", "Detachment": "detached_retina"}
TRAINING = (
    "PALM-Training400/PALM-Training400",
    "PALM-Training400/PALM-Training400/PALM-Training400",
    "PALM-Training400",
)
MASKS = (
    "PALM-Training400/PALM-Training400-Annotation-Lession/Lesion_Masks",
    "PALM-Training400/Lesion_Masks",
    "Lesion_Masks",
)
VALIDATION = ("PALM-Validation400", "PALM-Validation400/PALM-Validation400", "Validation400")
VALIDATION_TABLES = tuple(
    f"{folder}PM_Label_and_Fovea_Location.xlsx" for folder in ("PALM-Validation-GT/", "PALM-Validation400/", "")
)


def training_row_of(image: Path, *, masks_folder: str | None, files: Files) -> Labelled:
    """One training image, labelled by the first letter of its name. No patient is named."""
    letter = image.name[0].upper()
    if letter not in LETTERS:
        raise RowError("unknown code", f"image {image.name!r} starts with none of {', '.join(LETTERS)}")
    diagnoses, absent = LETTERS[letter]
    masks = masks_of(image.stem, masks_folder, LESIONS, files) if masks_folder else {}
    key = f"PALM-Training400/{image.name}"
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=key,
        official_split="train",
        diagnoses=diagnoses,
        absent=absent,
        findings=tuple(masks) if masks_folder else None,
        annotated=tuple(LESIONS.values()) if masks_folder else (),
        masks=masks,
        mask_values=dict.fromkeys(masks, LESION_VALUE),
    )


def row_of(row: Mapping[str, str], *, folder: str) -> Labelled:
    """One validation image. Label 0 says that there is no pathologic myopia, not that the eye is normal."""
    myopia = code(row, "Label", NO_OR_YES)
    name = file_name(row, "imgName")
    key = f"PALM-Validation400/{name}"
    return Labelled(
        source=NAME,
        key=key,
        image=Path(folder, name),
        modality=Modality.CFP,
        patient_id=key,
        official_split="val",
        diagnoses=MYOPIA if myopia else None,
        absent=() if myopia else MYOPIA,
        fovea=fovea_of(row),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """The training images, and those of the validation table where it is there. Raises DataError where the training
    images or a lesion's masks are missing, or the table is there without a column or without its images."""
    files = Files(root)
    masks = next((choice for choice in MASKS if (root / choice).is_dir()), None)
    if masks:
        mask_folders(root, *(f"{masks}/{name}" for name in LESIONS))
    for image in images_in(image_folder(root, *TRAINING, what="training images")):
        place = f"PALM-Training400/{image.name}"
        yield attempt(NAME, place, partial(training_row_of, image, masks_folder=masks, files=files))
    table = next((root / choice for choice in VALIDATION_TABLES if (root / choice).exists()), None)
    if table is None:
        return
    folder = image_folder(root, *VALIDATION, what="validation images").relative_to(root).as_posix()
    rows = read_table(table, columns=("imgName", "Label"), optional=("Fovea_X", "Fovea_Y"))
    places = ((row.where, row.cells) for row in rows)
    yield from located_rows(NAME, places, partial(row_of, folder=folder), files=files)


SET = PublicSet(
    name=NAME,
    title="PALM (iChallenge-PM)",
    modality=Modality.CFP,
    licence="see its page",
    url="https://palm.grand-challenge.org/",
    patient_key="",
    citation="Fang et al., Open Fundus Photograph Dataset with Pathologic Myopia Recognition, Scientific Data 2024",
    read=read,
    space=Space(alone=MYOPIA, lesions=tuple(LESIONS.values())),
)
