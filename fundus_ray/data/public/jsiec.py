"""JSIEC1000: 1,000 colour photographs in 39 folders, one a condition. MH is macular hole here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.folders import InFolder, class_folder, class_of, foldered_rows, images_by_class
from fundus_ray.types import Modality

NAME = "jsiec"
# DR1 to DR3 are the set's own stages, not the five grades, so no grade is read from them.
CLASSES: dict[str, tuple[str, ...]] = {
    "0.0.Normal": (),
    "0.1.Tessellated fundus": ("tessellated fundus",),
    "0.2.Large optic cup": ("large optic cup",),
    "0.3.DR1": ("diabetic retinopathy",),
    "1.0.DR2": ("diabetic retinopathy",),
    "1.1.DR3": ("diabetic retinopathy",),
    "2.0.BRVO": ("branch retinal vein occlusion",),
    "2.1.CRVO": ("central retinal vein occlusion",),
    "3.RAO": ("retinal artery occlusion",),
    "4.Rhegmatogenous RD": ("rhegmatogenous retinal detachment",),
    "5.0.CSCR": ("central serous chorioretinopathy",),
    "5.1.VKH disease": ("Vogt-Koyanagi-Harada disease",),
    "6.Maculopathy": ("maculopathy",),
    "7.ERM": ("epiretinal membrane",),
    "8.MH": ("macular hole",),
    "9.Pathological myopia": ("pathologic myopia",),
    "10.0.Possible glaucoma": ("suspected glaucoma",),
    "10.1.Optic atrophy": ("optic atrophy",),
    "11.Severe hypertensive retinopathy": ("severe hypertensive retinopathy",),
    "12.Disc swelling and elevation": ("optic disc oedema",),
    "13.Dragged Disc": ("dragged disc",),
    "14.Congenital disc abnormality": ("congenital disc abnormality",),
    "15.0.Retinitis pigmentosa": ("retinitis pigmentosa",),
    "15.1.Bietti crystalline dystrophy": ("Bietti crystalline dystrophy",),
    "16.Peripheral retinal degeneration and break": ("peripheral retinal degeneration and break",),
    "17.Myelinated nerve fiber": ("myelinated nerve fibres",),
    "18.Vitreous particles": ("vitreous opacities",),
    "19.Fundus neoplasm": ("fundus neoplasm",),
    "20.Massive hard exudates": ("hard exudates",),
    "21.Yellow-white spots-flecks": ("yellow-white spots and flecks",),
    "22.Cotton-wool spots": ("cotton wool spots",),
    "23.Vessel tortuosity": ("tortuous vessels",),
    "24.Chorioretinal atrophy-coloboma": ("chorioretinal atrophy or coloboma",),
    "25.Preretinal hemorrhage": ("preretinal haemorrhage",),
    "26.Fibrosis": ("retinal fibrosis",),
    "27.Laser Spots": ("laser scars",),
    "28.Silicon oil in eye": ("silicone oil in the eye",),
    "29.0.Blur fundus without PDR": ("media haze",),
    "29.1.Blur fundus with suspected PDR": ("media haze", "suspected proliferative diabetic retinopathy"),
}


def row_of(found: InFolder) -> Labelled:
    """One image; file names end in `..JPG`. The set names no patients, so each image counts as its own."""
    image, folder, diagnoses = class_of(found, CLASSES)
    key = f"{folder}/{image.name}"
    return Labelled(source=NAME, key=key, image=image, modality=Modality.CFP, patient_id=key, diagnoses=diagnoses)


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every image of the class folders. Raises DataError where there is none."""
    folder = class_folder(root, ".", "1000images", "JSIEC", classes=CLASSES)
    yield from foldered_rows(NAME, images_by_class(folder, CLASSES), row_of)


SET = PublicSet(
    name=NAME,
    title="JSIEC1000",
    modality=Modality.CFP,
    licence="see its page",
    url="https://zenodo.org/record/3477553",
    patient_key="",
    citation="Cen et al., Automatic detection of 39 fundus diseases and conditions, Nature Communications 2021",
    read=read,
    space=Space(conditions=once(CLASSES.values())),
)
