"""IDRiD: 516 graded images, 81 images with lesion masks, and the centres of disc and fovea; any of its three parts.

    A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg
    A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif
    B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg
    B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv
    C. Localization/2. Groundtruths/1. Optic Disc Center Location/a. IDRiD_OD_Center_Training Set_Markups.csv
    C. Localization/2. Groundtruths/2. Fovea Center Location/IDRiD_Fovea_Center_Training Set_Markups.csv

Training and testing images of B and of C are both numbered from 001, so that a name alone names no image. A lesion that
is absent has no mask file. The tables of C end in blank rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.discs import Disc, disc_of, eye_of
from fundus_ray.data.public.layout import mask_folders
from fundus_ray.data.public.lesion_masks import with_lesions
from fundus_ray.data.public.reading import DR_GRADES, Files, RowError, attempt, code, rows_of
from fundus_ray.data.tables import TableRow, read_table
from fundus_ray.errors import DataError
from fundus_ray.types import Modality

NAME = "idrid"
SEGMENTATION, GRADING, LOCALIZATION = "A. Segmentation", "B. Disease Grading", "C. Localization"
FOLDERS = {"train": "a. Training Set", "test": "b. Testing Set"}
GRADES = {
    "train": "a. IDRiD_Disease Grading_Training Labels.csv",
    "test": "b. IDRiD_Disease Grading_Testing Labels.csv",
}
DISCS = {
    "train": "a. IDRiD_OD_Center_Training Set_Markups.csv",
    "test": "b. IDRiD_OD_Center_Testing Set_Markups.csv",
}
FOVEAS = {
    "train": "IDRiD_Fovea_Center_Training Set_Markups.csv",
    "test": "IDRiD_Fovea_Center_Testing Set_Markups.csv",
}
LESIONS = {  # finding -> folder, suffix
    "microaneurysm": ("1. Microaneurysms", "MA"),
    "retinal_haemorrhage": ("2. Haemorrhages", "HE"),
    "hard_exudate": ("3. Hard Exudates", "EX"),
    "cotton_wool_spot": ("4. Soft Exudates", "SE"),
}
DISC_MASK = ("5. Optic Disc", "OD")
NEAR = 0.1  # of the image's width


def grading_row(cells: Mapping[str, str], *, split: str) -> Labelled:
    """One row of B. Raises RowError."""
    name = cells["Image name"]
    key = f"{GRADING}/1. Original Images/{FOLDERS[split]}/{name}.jpg"
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=f"{split}/{name}",
        official_split=split,
        dr_grade=code(cells, "Retinopathy grade", DR_GRADES),
        dme_grade=code(cells, "Risk of macular edema", {"0": 0, "1": 1, "2": 2}),
    )


def centre_row(cells: Mapping[str, str], *, split: str, foveas: Mapping[str, Mapping[str, str]]) -> Labelled:
    """One image of C: its row of the disc's table, with that of the fovea's table. Raises RowError."""
    name = cells["Image No"]
    disc = _point(cells)
    fovea = _point(foveas[name]) if name in foveas else None
    key = f"{LOCALIZATION}/1. Original Images/{FOLDERS[split]}/{name}.jpg"
    return Labelled(
        source=NAME,
        key=key,
        image=Path(key),
        modality=Modality.CFP,
        patient_id=f"{split}/{name}",
        eye="" if fovea is None else eye_of(disc, fovea),
        official_split=split,
        disc=disc,
        fovea=fovea,
    )


def mask_row(key: str, *, split: str, files: Files) -> Labelled:
    """One image of A with the masks beside it. Raises RowError where a mask is damaged."""
    stem = PurePosixPath(key).stem
    truths = f"{SEGMENTATION}/2. All Segmentation Groundtruths/{FOLDERS[split]}"
    paths = {
        name: files.find_any(f"{truths}/{folder}/{stem}_{suffix}.tif") for name, (folder, suffix) in LESIONS.items()
    }
    masks = with_lesions(paths)
    image, mask = files.find(key), files.find_any(f"{truths}/{DISC_MASK[0]}/{stem}_{DISC_MASK[1]}.tif")
    disc = disc_of(mask, image=image) if mask else None
    return Labelled(
        source=NAME,
        key=key,
        image=image,
        modality=Modality.CFP,
        patient_id=key,
        eye="" if disc is None else _eye_by(disc, image),
        official_split=split,
        findings=tuple(masks),
        masks=masks,
        disc=disc.centre if disc else None,
        disc_area_px=disc.area_px if disc else None,
        annotated=tuple(LESIONS),
    )


def _eye_by(disc: Disc, image: Path) -> str:
    """The eye of a photograph that is centred near the macula, as all of this set are by its page; "" where the disc
    lies too near the middle to tell."""
    with Image.open(image) as opened:
        width, height = opened.size
    middle = (width / 2, height / 2)
    return eye_of(disc.centre, middle) if abs(disc.centre[0] - middle[0]) > NEAR * width else ""


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Parts B, C and A, as far as they are there. Raises DataError where none is, or a lesion's folder is not."""
    parts = [part for part in (GRADING, LOCALIZATION, SEGMENTATION) if (root / part).is_dir()]
    if not parts:
        raise DataError(f"{root} holds none of the folders {SEGMENTATION}, {GRADING}, {LOCALIZATION}")
    files = Files(root)
    readers = {GRADING: _read_grades, LOCALIZATION: _read_centres, SEGMENTATION: _read_masks}
    for part in parts:
        for split in FOLDERS:
            yield from readers[part](root, files, split)


def _read_grades(root: Path, files: Files, split: str) -> Iterator[Labelled | BadRow]:
    table = read_table(
        root / GRADING / "2. Groundtruths" / GRADES[split],
        columns=("Image name", "Retinopathy grade", "Risk of macular edema"),
    )
    return rows_of(NAME, table, partial(grading_row, split=split), files=files)


def _read_centres(root: Path, files: Files, split: str) -> Iterator[Labelled | BadRow]:
    truths = root / LOCALIZATION / "2. Groundtruths"
    foveas = {row.cells["Image No"]: row.cells for row in _named(truths / "2. Fovea Center Location" / FOVEAS[split])}
    discs = _named(truths / "1. Optic Disc Center Location" / DISCS[split])
    return rows_of(NAME, discs, partial(centre_row, split=split, foveas=foveas), files=files)


def _named(path: Path) -> Iterator[TableRow]:
    table = read_table(path, columns=("Image No", "X- Coordinate", "Y - Coordinate"))
    return (row for row in table if row.cells["Image No"])


def _read_masks(root: Path, files: Files, split: str) -> Iterator[Labelled | BadRow]:
    folder = f"{SEGMENTATION}/1. Original Images/{FOLDERS[split]}"
    names = [name for name in files.names(folder) if name.lower().endswith(".jpg")]
    if names:
        truths = f"{SEGMENTATION}/2. All Segmentation Groundtruths/{FOLDERS[split]}"
        mask_folders(root, *(f"{truths}/{lesion}" for lesion, _ in LESIONS.values()))
    for name in names:
        key = f"{folder}/{name}"
        yield attempt(NAME, key, partial(mask_row, key, split=split, files=files))


def _point(cells: Mapping[str, str]) -> tuple[float, float]:
    """(x, y) [px]. Raises RowError."""
    texts = (cells["X- Coordinate"], cells["Y - Coordinate"])
    try:
        x, y = float(texts[0]), float(texts[1])
    except ValueError:
        raise RowError("unknown code", f"the centre is {texts}; two numbers of pixels are expected") from None
    if not (0 <= x < float("inf") and 0 <= y < float("inf")):
        raise RowError("unknown code", f"the centre is {texts}; numbers of pixels >= 0 are expected")
    return x, y


SET = PublicSet(
    name=NAME,
    title="Indian Diabetic Retinopathy Image Dataset (IDRiD)",
    modality=Modality.CFP,
    licence="see its page",
    url="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    patient_key="",
    citation="Porwal et al., Indian Diabetic Retinopathy Image Dataset, Data 3(3):25, 2018",
    read=read,
    space=Space(lesions=tuple(LESIONS)),
)
