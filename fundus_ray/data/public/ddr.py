"""DDR: 13,673 graded images, and 757 of them with lesion masks.

    DR_grading/train.txt                                 lines "007-0004-000.jpg 0"; 5 = cannot be graded
    DR_grading/train/007-0004-000.jpg
    lesion_segmentation/train/image/007-1774-100.jpg
    lesion_segmentation/train/label/MA/007-1774-100.tif  every image has all four masks, black where there is no lesion

The masks of the split `valid` lie in `segmentation label` instead of `label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.lesion_masks import with_lesions
from fundus_ray.data.public.reading import Files, attempt, grade_or_ungradable, rows_of
from fundus_ray.data.tables import TableRow, read_lines
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "ddr"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
MASK_FOLDERS = ("label", "segmentation label")
LESIONS = {
    "microaneurysm": "MA",
    "retinal_haemorrhage": "HE",
    "hard_exudate": "EX",
    "cotton_wool_spot": "SE",
}


def grading_row(cells: Mapping[str, str], *, folder: str) -> Labelled:
    """A line `<file> <grade>`. Raises RowError."""
    key = f"DR_grading/{folder}/{cells['file']}"
    grade, gradable = grade_or_ungradable(cells, "grade")
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        # Patients are not named; an image has one name in both parts, and so stays on one side of a split.
        patient_id=PurePosixPath(cells["file"]).stem,
        official_split=SPLITS[folder],
        dr_grade=grade,
        gradable=gradable,
    )


def mask_row(key: str, *, folder: str, files: Files) -> Labelled:
    """One image of the segmentation part with its masks. Raises RowError where a mask is missing or damaged."""
    stem = PurePosixPath(key).stem
    top = f"lesion_segmentation/{folder}"
    labels = next((name for name in MASK_FOLDERS if (files.root / top / name).is_dir()), MASK_FOLDERS[0])
    masks = with_lesions({name: files.find(f"{top}/{labels}/{sub}/{stem}.tif") for name, sub in LESIONS.items()})
    return Labelled(
        source=NAME,
        key=key,
        image=files.find(key),
        modality=Modality.CFP,
        patient_id=stem,
        official_split=SPLITS[folder],
        findings=tuple(masks),
        masks=masks,
        annotated=tuple(LESIONS),
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Grades and masks, as far as their folders are there. Raises DataError where neither is."""
    graded, segmented = (root / "DR_grading").is_dir(), (root / "lesion_segmentation").is_dir()
    if not graded and not segmented:
        raise DataError(f"{root} holds neither DR_grading nor lesion_segmentation; give --root the folder above them")
    files = Files(root)
    for folder in SPLITS if graded else ():
        lines = _rows(root / "DR_grading" / f"{folder}.txt")
        yield from rows_of(NAME, lines, partial(grading_row, folder=folder), files=files)
    for folder in SPLITS if segmented else ():
        images = f"lesion_segmentation/{folder}/image"
        for name in files.names(images):
            key = f"{images}/{name}"
            yield attempt(NAME, key, partial(mask_row, key, folder=folder, files=files))


def _rows(path: Path) -> Iterator[TableRow]:
    for where, line in read_lines(path):
        *file, grade = line.rsplit(maxsplit=1)
        yield TableRow(where, {"file": "".join(file), "grade": grade})


SET = PublicSet(
    name=NAME,
    title="DDR, diabetic retinopathy grading and lesion segmentation",
    modality=Modality.CFP,
    licence="see its page",
    url="https://github.com/nkicsl/DDR-dataset",
    patient_key="",
    citation="Li et al., Diagnostic assessment of deep learning algorithms for diabetic retinopathy screening, "
    "Information Sciences 501, 2019",
    read=read,
    space=Space(lesions=tuple(LESIONS)),
)
