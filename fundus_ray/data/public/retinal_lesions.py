"""Retinal-Lesions: 1,593 images of EyePACS, cropped, graded again, with masks of eight lesions.

    dr_grades.csv                                        image id, kaggle label, our label
    images_896x896/10_left.jpg                           named as in EyePACS: patient and eye
    lesion_segs_896x896/10_left/microaneurysm.png        255 = lesion; 127 = taken out again by the authors

A lesion that is absent has no mask file; some images have no mask folder. A mask may hold 127 alone: no lesion then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.layout import mask_folders
from fundus_ray.data.public.lesion_masks import with_lesions
from fundus_ray.data.public.reading import DR_GRADES, Files, code, person_and_eye, rows_of
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "retinal_lesions"
MASKS = "lesion_segs_896x896"
TAKEN_OUT = 127
LESIONS = {  # finding -> mask
    "microaneurysm": "microaneurysm",
    "dot_blot_haemorrhage": "retinal_hemorrhage",  # its page calls this one intraretinal haemorrhage
    "hard_exudate": "hard_exudate",
    "cotton_wool_spot": "cotton_wool_spots",
    "vitreous_haemorrhage": "vitreous_hemorrhage",
    "preretinal_haemorrhage": "preretinal_hemorrhage",
    "neovascularisation": "neovascularization",
    "fibrous_proliferation": "fibrous_proliferation",
}


def row_of(cells: Mapping[str, str], *, files: Files) -> Labelled:
    """One row of dr_grades.csv with the image's masks. Raises RowError."""
    stem = PurePosixPath(cells["image id"]).stem
    patient, eye = person_and_eye(stem)
    key = f"images_896x896/{stem}.jpg"
    folder = f"{MASKS}/{stem}"
    masks = with_lesions(
        {name: files.find_any(f"{folder}/{mask}.png") for name, mask in LESIONS.items()}, above=TAKEN_OUT
    )
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=patient,
        eye=eye,
        dr_grade=code(cells, "our label", DR_GRADES),
        findings=tuple(masks),
        masks=masks,
        annotated=tuple(LESIONS),
        mask_above=TAKEN_OUT,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """The rows of dr_grades.csv. Raises DataError where the table or the folder of masks is missing."""
    mask_folders(root, MASKS)
    files = Files(root)
    table = read_table(root / "dr_grades.csv", columns=("image id", "our label"))
    return rows_of(NAME, table, partial(row_of, files=files), files=files)


SET = PublicSet(
    name=NAME,
    title="Retinal-Lesions",
    modality=Modality.CFP,
    licence="see its page",
    url="https://github.com/WeiQijie/retinal-lesions",
    patient_key="number before _left or _right in the image's name, as in EyePACS",
    citation="Wei et al., Learn to Segment Retinal Lesions and Beyond, ICPR 2020, https://arxiv.org/abs/1912.11619",
    read=read,
    space=Space(lesions=tuple(LESIONS)),
    same_people_as="eyepacs",
)
