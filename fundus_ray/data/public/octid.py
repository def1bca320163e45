"""OCTID: OCT B-scans in five class folders, whose names differ between sources. MH is macular hole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.folders import InFolder, class_folder, class_of, foldered_rows, images_by_class
from fundus_ray.types import Modality

NAME = "octid"
AMD, CSC, DR, HOLE, NORMAL = "AMD", "Central_serous_retinopathy", "DR", "macular_hole", "normal"  # FunBench's names
FOLDERS = {
    AMD: AMD,
    "AMRD": AMD,
    "ARMD": AMD,
    CSC: CSC,
    "CSC": CSC,
    "CSR": CSC,
    DR: DR,
    "Diabetic_retinopathy": DR,
    HOLE: HOLE,
    "MH": HOLE,
    NORMAL: NORMAL,
}
DISEASES: dict[str, tuple[str, ...]] = {
    AMD: ("age-related macular degeneration",),
    CSC: ("central serous chorioretinopathy",),
    DR: ("diabetic retinopathy",),
    HOLE: ("macular hole",),
    NORMAL: (),
}


def row_of(found: InFolder) -> Labelled:
    """One B-scan. The set names no patients, so each image counts as its own."""
    image, _, folder = class_of(found, FOLDERS)
    key = f"{folder}/{image.name}"
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.OCT,
        patient_id=key,
        diagnoses=DISEASES[folder],
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every image of the class folders. Raises DataError where there is none."""
    folder = class_folder(root, ".", "OCTID", classes=FOLDERS)
    yield from foldered_rows(NAME, images_by_class(folder, FOLDERS), row_of)


SET = PublicSet(
    name=NAME,
    title="OCTID",
    modality=Modality.OCT,
    licence="see its page",
    url="https://dataverse.scholarsportal.info/dataverse/OCTID",
    patient_key="",
    citation="Gholami et al., OCTID, Computers and Electrical Engineering 2020",
    read=read,
    space=Space(conditions=once(DISEASES.values())),
)
