"""BRSET: 16,266 photographs of 8,524 people with a DR grade and thirteen labels that are 0 or 1.

    labels.csv                    image_id, patient_id, DR_ICDR, optic_disc, vessels, macula, macular_edema, ...
    fundus_photos/img00001.jpg

Release 1.0.2 writes `drusen` for `drusens`. `exam_eye` is not read: releases differ in which eye a code means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.reading import DR_GRADES, NO_OR_YES, Files, code, rows_of
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "brset"
DIAGNOSES = {  # column -> name; "scar", "vascular occlusion", "myopic fundus" and "other" have no record of their own
    "macular_edema": "macular oedema",
    "scar": "scar",
    "nevus": "choroidal naevus",
    "amd": "age-related macular degeneration",
    "vascular_occlusion": "vascular occlusion",
    "hypertensive_retinopathy": "hypertensive retinopathy",
    "drusens": "drusen",
    "hemorrhage": "retinal haemorrhage",
    "retinal_detachment": "retinal detachment",
    "myopic_fundus": "myopic fundus",
    "increased_cup_disc": "large optic cup",
    "other": "other",
}
FINDINGS = {
    "scar": "chorioretinal_scar",
    "drusens": "drusen",
    "hemorrhage": "retinal_haemorrhage",
    "retinal_detachment": "detached_retina",
    "increased_cup_disc": "enlarged_cup",
}
# The haemorrhages of retinopathy are part of its grade, and the column is 0 for them: it denies nothing.
NOT_DENIED = {"retinal_haemorrhage"}
SPACE = Space(
    conditions=(
        "diabetic retinopathy",
        *(name for name in DIAGNOSES.values() if name not in {"other", "retinal haemorrhage"}),
    ),
    others=True,
)
ANATOMY = ("optic_disc", "vessels", "macula")
NORMAL_OR_NOT = {"1": True, "2": False}


def row_of(cells: Mapping[str, str]) -> Labelled:
    """One row. Without any disease, but with an anatomy that is not normal, `diagnoses` is None. Raises RowError."""
    key = f"fundus_photos/{cells['image_id'].removesuffix('.jpg')}.jpg"
    grade = code(cells, "DR_ICDR", DR_GRADES)
    present = {column for column in DIAGNOSES if code(cells, column, NO_OR_YES)}
    normal = [code(cells, part, NORMAL_OR_NOT) for part in ANATOMY]
    diagnoses = (("diabetic retinopathy",) if grade else ()) + tuple(
        name for column, name in DIAGNOSES.items() if column in present
    )
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=cells["patient_id"] or key,
        diagnoses=diagnoses if diagnoses or all(normal) else None,
        dr_grade=grade,
        findings=tuple(finding for column, finding in FINDINGS.items() if column in present),
        annotated=tuple(finding for finding in FINDINGS.values() if finding not in NOT_DENIED),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """The rows of labels.csv."""
    table = read_table(
        root / "labels.csv",
        columns=("image_id", "patient_id", "DR_ICDR", *ANATOMY, *DIAGNOSES),
        renamed={"drusen": "drusens"},
    )
    return rows_of(NAME, table, row_of, files=Files(root))


SET = PublicSet(
    name=NAME,
    title="Brazilian Multilabel Ophthalmological Dataset (BRSET)",
    modality=Modality.CFP,
    licence="see its page",
    url="https://physionet.org/content/brazilian-ophthalmological/",
    patient_key="patient_id",
    citation="Nakayama et al., A Brazilian Multilabel Ophthalmological Dataset, PhysioNet 2023, "
    "https://doi.org/10.13026/xcxw-8198",
    read=read,
    space=SPACE,
)
