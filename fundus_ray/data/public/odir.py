"""ODIR's annotation table, which ODIR-5K and OIA-ODIR share: labels of one eye out of its diagnostic keywords.

In: a row about a patient. Out: `Labelled` of each eye. The columns N to O (normal, diabetes, ...) are the patient's,
one value for two eyes, so no eye is ever labelled by them. Keywords are separated by the full-width comma.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fundus_ray.data.labelled import NO_FUNDUS, UNGRADABLE, Labelled, Space
from fundus_ray.data.public.reading import RowError
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

COLUMNS = ("ID", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords", "Right-Diagnostic Keywords")
SIDES = {"Left": "L", "Right": "R"}
SEPARATOR = re.compile("[,\N{FULLWIDTH COMMA}]")
NORMAL = "normal fundus"
ANOTHER_SUBJECT = {"anterior segment image", "no fundus image"}
ON_THE_PHOTOGRAPH = {"lens dust", "image offset", "low image quality", "optic disk photographically invisible"}

AMD = "age-related macular degeneration"
DR = "diabetic retinopathy"
DR_GRADES = {
    "mild nonproliferative retinopathy": 1,
    "moderate non proliferative retinopathy": 2,
    "moderate nonproliferative retinopathy": 2,
    "severe nonproliferative retinopathy": 3,
    "proliferative diabetic retinopathy": 4,
    "severe proliferative diabetic retinopathy": 4,
}
# A keyword that is not listed here keeps its own words; a kind of a disease stands beside the disease itself, since
# other rows name the disease alone.
DISEASES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(DR_GRADES, (DR,)),
    "dry age-related macular degeneration": (AMD, "dry age-related macular degeneration"),
    "wet age-related macular degeneration": (AMD, "neovascular age-related macular degeneration"),
    "pathological myopia": ("pathologic myopia",),
    "myopia retinopathy": ("pathologic myopia",),
    "myopic retinopathy": ("pathologic myopia",),
    "myopic maculopathy": ("pathologic myopia",),
    "macular epiretinal membrane": ("epiretinal membrane",),
    "epiretinal membrane over the macula": ("epiretinal membrane",),
    "optic disk epiretinal membrane": ("epiretinal membrane",),
    "laser spot": ("laser scars",),
    "fundus laser photocoagulation spots": ("laser scars",),
    "post laser photocoagulation": ("laser scars",),
    "post retinal laser surgery": ("laser scars",),
    "myelinated nerve fibers": ("myelinated nerve fibres",),
    "refractive media opacity": ("media haze",),
    "vitreous opacity": ("vitreous opacities",),
    "retinal artery macroaneurysm": ("retinal arterial macroaneurysm",),
    "optic disc edema": ("optic disc oedema",),
    "optic nerve atrophy": ("optic atrophy",),
    "choroidal nevus": ("choroidal naevus",),
    "silicone oil eye": ("silicone oil in the eye",),
    "morning glory syndrome": ("congenital disc abnormality",),
    "retinochoroidal coloboma": ("chorioretinal coloboma",),
    "congenital choroidal coloboma": ("chorioretinal coloboma",),
    "vessel tortuosity": ("tortuous vessels",),
    "idiopathic choroidal neovascularization": ("choroidal neovascularisation",),
    "old branch retinal vein occlusion": ("branch retinal vein occlusion",),
    "old central retinal vein occlusion": ("central retinal vein occlusion",),
    "intraretinal hemorrhage": ("retinal haemorrhage",),
    "depigmentation of the retinal pigment epithelium": ("retinal pigment epithelium changes",),
    "pigment epithelium proliferation": ("retinal pigment epithelium changes",),
    "retinal pigment epithelium atrophy": ("retinal pigment epithelium changes",),
}


# The diseases of the columns D, G, C, A, H and M; a suspicion is counted under its disease there.
SPACE = Space(
    conditions=(DR, "glaucoma", "cataract", AMD, "hypertensive retinopathy", "pathologic myopia"),
    kinds={
        "dry age-related macular degeneration": AMD,
        "neovascular age-related macular degeneration": AMD,
        "suspected glaucoma": "glaucoma",
        "suspected cataract": "cataract",
        "suspected diabetic retinopathy": DR,
        "suspicious diabetic retinopathy": DR,
        "suspected moderate non proliferative retinopathy": DR,
    },
    others=True,
)


@dataclass(frozen=True, slots=True)
class EyeRow:
    """What the table says of one eye."""

    patient_id: str
    eye: str  # "L" | "R"
    file: str
    keywords: str


def eye_rows(table: Path) -> Iterator[tuple[str, EyeRow]]:
    """(place, eye) of both eyes of each row. Kaggle's full_df.csv repeats a patient's row for each eye; the repeats are
    left out. Raises DataError where the table or a column is missing."""
    seen: set[str] = set()
    for row in read_table(table, columns=COLUMNS):
        for side, eye in SIDES.items():
            file = row.cells[f"{side}-Fundus"]
            if not file or file not in seen:
                seen.add(file)
                keywords = row.cells[f"{side}-Diagnostic Keywords"]
                yield f"{row.where}, {side.lower()} eye", EyeRow(row.cells["ID"], eye, file, keywords)


def row_of(row: EyeRow, *, source: str, key: str, image: Path, official_split: str) -> Labelled:
    """One eye. Raises RowError where it has no image or its keywords say nothing of a fundus or contradict."""
    if not row.file:
        raise RowError("missing value", "the name of this eye's image is empty")
    diagnoses, dr_grade = read_keywords(row.keywords)
    return Labelled(
        source=source,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=row.patient_id,
        eye=row.eye,
        official_split=official_split,
        diagnoses=diagnoses,
        dr_grade=dr_grade,
    )


def read_keywords(text: str) -> tuple[tuple[str, ...], int | None]:
    """(diagnoses, DR grade) of one eye; () = a normal fundus, whose grade is 0; None = no grade among the keywords.

    Raises RowError where the picture shows no fundus, the keywords only judge the photograph, or contradict each other.
    """
    words = [" ".join(part.split()).lower() for part in SEPARATOR.split(text)]
    words = list(dict.fromkeys(word for word in words if word))
    if shown := ANOTHER_SUBJECT.intersection(words):
        raise RowError(NO_FUNDUS, f"keywords are {text!r}: {' and '.join(sorted(shown))} shows no fundus")
    about_the_eye = [word for word in words if word not in ON_THE_PHOTOGRAPH]
    if not words:
        raise RowError("missing value", "the keywords of this eye are empty")
    if not about_the_eye:
        raise RowError(UNGRADABLE, f"keywords are {text!r}: they judge the photograph alone")
    if about_the_eye == [NORMAL]:
        return (), 0
    if NORMAL in about_the_eye:
        raise RowError("contradiction", f"keywords are {text!r}: normal and ill at once")
    named = [disease for word in about_the_eye for disease in DISEASES.get(word, (word,))]
    grades = [DR_GRADES[word] for word in about_the_eye if word in DR_GRADES]
    return tuple(dict.fromkeys(named)), max(grades, default=None)
