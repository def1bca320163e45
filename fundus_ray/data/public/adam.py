"""ADAM (iChallenge-AMD): 400 colour photographs, with AMD or without, lesion masks and the place of the fovea."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.folders import InFolder, class_folder, class_of, foldered_rows, images_by_class
from fundus_ray.data.public.ichallenge import LESION_VALUE, fovea_of, masks_of
from fundus_ray.data.public.layout import mask_folders
from fundus_ray.data.public.reading import Files
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "adam"
AMD = ("age-related macular degeneration",)
CLASSES = {"AMD": True, "Non-AMD": False}
LESIONS = {  # folder -> finding; `others` is no one finding
    "drusen": "drusen",
    "exudate": "hard_exudate",
    "hemorrhage": "retinal_haemorrhage",
    "scar": "macular_scar",
}
MASKS = (
    "Training400-Lesion/Training400-Lesion/Lesion_Masks",
    "Training400-Lesion/Lesion_Masks",
    "Training400/Lesion_Masks",
    "Lesion_Masks",
)


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside the images: rows of the fovea table by image name, and the folder of lesion masks."""

    files: Files
    fovea: Mapping[str, Mapping[str, str]]
    masks: str | None  # None = the release has none, so no finding is annotated


def row_of(found: InFolder, *, beside: Beside) -> Labelled:
    """One image. Non-AMD says that there is no AMD, not that the fundus is normal. No patient is named."""
    image, folder, has_amd = class_of(found, CLASSES)
    key = f"Training400/{folder}/{image.name}"
    masks = masks_of(image.stem, beside.masks, LESIONS, beside.files) if beside.masks else {}
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=key,
        official_split="train",
        diagnoses=AMD if has_amd else None,
        absent=() if has_amd else AMD,
        findings=tuple(masks) if beside.masks else None,
        annotated=tuple(LESIONS.values()) if beside.masks else (),
        masks=masks,
        mask_values=dict.fromkeys(masks, LESION_VALUE),
        fovea=fovea_of(beside.fovea.get(image.name.lower(), {})),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every training image. Raises DataError where the class folders or a lesion's masks are missing, or the fovea
    table cannot be read."""
    folder = class_folder(root, "Training400", "Training400/Training400", ".", classes=CLASSES)
    table = folder / "Fovea_location.xlsx"
    rows = read_table(table, columns=("imgName", "Fovea_X", "Fovea_Y")) if table.exists() else ()
    fovea = {row.cells["imgName"].lower(): row.cells for row in rows}
    masks = next((choice for choice in MASKS if (root / choice).is_dir()), None)
    if masks:
        mask_folders(root, *(f"{masks}/{name}" for name in LESIONS))
    beside = Beside(Files(root), fovea, masks)
    images = images_by_class(folder, CLASSES, beside=("Disc_Masks", "Lesion_Masks"))
    yield from foldered_rows(NAME, images, partial(row_of, beside=beside))


SET = PublicSet(
    name=NAME,
    title="ADAM (iChallenge-AMD)",
    modality=Modality.CFP,
    licence="see its page",
    url="https://amd.grand-challenge.org/",
    patient_key="",
    citation="Fang et al., ADAM Challenge: Detecting Age-Related Macular Degeneration, IEEE TMI 2022",
    read=read,
    space=Space(alone=AMD, lesions=tuple(LESIONS.values())),
)
