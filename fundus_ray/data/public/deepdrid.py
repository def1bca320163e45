r"""DeepDRiD, two sets in one folder: regular photographs, two of each eye, and ultra-wide-field photographs.

    regular_fundus_images/regular-fundus-training/regular-fundus-training.csv
    regular_fundus_images/regular-fundus-training/Images/1/1_l1.jpg
    regular_fundus_images/Online-Challenge1&2-Evaluation/Challenge1_labels.xlsx (or .csv): image_id, DR_Levels
    ultra-widefield_images/ultra-widefield-training/..., Online-Challenge3-Evaluation/Challenge3_labels.xlsx

`image_path` has backslashes and lacks `Images`: regular-fundus-training\1\1_l1.jpg. In the regular tables each row is
one eye's image, and the other eye's column is empty. 5 = cannot be graded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet
from fundus_ray.data.public.reading import Files, RowError, code, grade_or_ungradable, rows_of
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

REGULAR, UWF = "deepdrid", "deepdrid_uwf"
TOP = {REGULAR: "regular_fundus_images", UWF: "ultra-widefield_images"}
STEM = {REGULAR: "regular-fundus", UWF: "ultra-widefield"}
EVALUATION = {
    REGULAR: ("Online-Challenge1&2-Evaluation", "Challenge1_labels", "DR_Levels"),
    UWF: ("Online-Challenge3-Evaluation", "Challenge3_labels", "UWF_DR_Levels"),
}
SPLITS = {"training": "train", "validation": "val"}
LEVELS = {"L": "left_eye_DR_Level", "R": "right_eye_DR_Level"}
POSITIONS = {"left_eye": "L", "right_eye": "R"}


def regular_row(cells: Mapping[str, str], *, split: str) -> Labelled:
    """One row of a regular table: the grade stands in the column of the image's own eye. Raises RowError."""
    key = image_key(cells["image_path"], top=TOP[REGULAR])
    eye = _eye(cells["image_id"])
    return _labelled(cells, REGULAR, key=key, patient=cells["patient_id"], eye=eye, split=split, column=LEVELS[eye])


def uwf_row(cells: Mapping[str, str], *, split: str) -> Labelled:
    """One row of an ultra-wide-field table. Raises RowError."""
    key = image_key(cells["image_path"], top=TOP[UWF])
    eye = code(cells, "position", POSITIONS)
    return _labelled(cells, UWF, key=key, patient=cells["patient_id"], eye=eye, split=split, column="DR_level")


def evaluation_row(cells: Mapping[str, str], *, name: str) -> Labelled:
    """One row of the labels that were published after the contest. Raises RowError."""
    folder, _, column = EVALUATION[name]
    patient = cells["image_id"].partition("_")[0]
    key = f"{TOP[name]}/{folder}/Images/{patient}/{cells['image_id']}.jpg"
    eye = _eye(cells["image_id"])
    return _labelled(cells, name, key=key, patient=patient, eye=eye, split="test", column=column)


def image_key(image_path: str, *, top: str) -> str:
    r"""Where an image lies of which the table says `regular-fundus-training\1\1_l1.jpg`. Raises RowError."""
    parts = re.split(r"[\\/]+", image_path.strip("\\/ "))
    if len(parts) == 4 and parts[1] == "Images":
        del parts[1]
    if len(parts) != 3:
        raise RowError("unknown name", rf"image_path is {image_path!r}; <folder>\<patient>\<image>.jpg is expected")
    return f"{top}/{parts[0]}/Images/{parts[1]}/{parts[2]}"


def _labelled(
    cells: Mapping[str, str], name: str, *, key: str, patient: str, eye: str, split: str, column: str
) -> Labelled:
    grade, gradable = grade_or_ungradable(cells, column)
    return Labelled(
        source=name,
        key=key,
        image=Path(key),
        modality=Modality.UWF if name == UWF else Modality.CFP,
        patient_id=patient,
        eye=eye,
        official_split=split,
        dr_grade=grade,
        gradable=gradable,
    )


def _eye(image_id: str) -> str:
    match = re.fullmatch(r"\d+_([lr])\d+", image_id)
    if not match:
        raise RowError("unknown name", f"image_id is {image_id!r}; <patient>_l1 or _r1 is expected")
    return match[1].upper()


def read_regular(root: Path) -> Iterator[Labelled | BadRow]:
    """Training, validation and, where its labels are there, evaluation images."""
    files = Files(root)
    for folder, split in SPLITS.items():
        table = read_table(
            root / TOP[REGULAR] / f"{STEM[REGULAR]}-{folder}" / f"{STEM[REGULAR]}-{folder}.csv",
            columns=("patient_id", "image_id", "image_path", *LEVELS.values()),
        )
        yield from rows_of(REGULAR, table, partial(regular_row, split=split), files=files)
    yield from _read_evaluation(REGULAR, root, files)


def read_uwf(root: Path) -> Iterator[Labelled | BadRow]:
    """The same of the ultra-wide-field images."""
    files = Files(root)
    for folder, split in SPLITS.items():
        table = read_table(
            root / TOP[UWF] / f"{STEM[UWF]}-{folder}" / f"{STEM[UWF]}-{folder}.csv",
            columns=("patient_id", "image_id", "image_path", "DR_level", "position"),
        )
        yield from rows_of(UWF, table, partial(uwf_row, split=split), files=files)
    yield from _read_evaluation(UWF, root, files)


def _read_evaluation(name: str, root: Path, files: Files) -> Iterator[Labelled | BadRow]:
    folder, stem, column = EVALUATION[name]
    labels = [path for suffix in (".csv", ".xlsx") if (path := root / TOP[name] / folder / f"{stem}{suffix}").is_file()]
    if labels:
        table = read_table(labels[0], columns=("image_id", column))
        yield from rows_of(name, table, partial(evaluation_row, name=name), files=files)


SETS = tuple(
    PublicSet(
        name=name,
        title=title,
        modality=modality,
        licence="see its page",
        url="https://github.com/deepdrdoc/DeepDRiD",
        patient_key="patient_id; the number before _ in the names of evaluation images",
        citation="Liu et al., DeepDRiD: diabetic retinopathy grading and image quality estimation challenge, "
        "Patterns 3(6), 2022, https://doi.org/10.1016/j.patter.2022.100512",
        read=read,
    )
    for name, title, modality, read in (
        (REGULAR, "DeepDRiD, regular photographs", Modality.CFP, read_regular),
        (UWF, "DeepDRiD, ultra-wide-field photographs", Modality.UWF, read_uwf),
    )
)
