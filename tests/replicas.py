"""Every public set in small on the disk, each with one row that cannot be used. No two images are equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from labelled_rows import black_on_white, table
from replica import HEIGHT, WIDTH, mask, text, workbook
from replica import photo as photo_of_value

from fundus_ray.data.public import brset, rfmid, top
from fundus_ray.data.public.idrid import LESIONS as IDRID_LESIONS

_values: Iterator[int] = count(1)


def photo(path: Path) -> Path:
    return photo_of_value(path, value=next(_values) % 256)


def eyepacs(root: Path) -> None:
    text(root / "trainLabels.csv", "image,level", "10_left,0", "10_right,4", "11_left,1")
    for name in ("10_left", "10_right"):
        photo(root / "train" / f"{name}.jpeg")


def aptos2019(root: Path) -> None:
    text(root / "train.csv", "id_code,diagnosis", "a,0", "b,2", "c,7")
    for name in "abc":
        photo(root / "train_images" / f"{name}.png")


def idrid(root: Path) -> None:
    grades, masks = root / "B. Disease Grading", root / "A. Segmentation"
    for part, letter, split in (("Training", "a", "a. Training Set"), ("Testing", "b", "b. Testing Set")):
        text(
            grades / "2. Groundtruths" / f"{letter}. IDRiD_Disease Grading_{part} Labels.csv",
            "Image name,Retinopathy grade,Risk of macular edema ,,",
            "IDRiD_001,3,2,,",
            *(["IDRiD_999,1,1,,"] if letter == "a" else []),
        )
        photo(grades / "1. Original Images" / split / "IDRiD_001.jpg")
        photo(masks / "1. Original Images" / split / "IDRiD_01.jpg")
        for lesion, _ in IDRID_LESIONS.values():
            (masks / "2. All Segmentation Groundtruths" / split / lesion).mkdir(parents=True)
    truths = masks / "2. All Segmentation Groundtruths" / "a. Training Set"
    mask(truths / "1. Microaneurysms" / "IDRiD_01_MA.tif", 255, mode="RGBA")
    mask(truths / "5. Optic Disc" / "IDRiD_01_OD.tif", 255, 255, mode="RGBA")


def messidor2(root: Path) -> None:
    header = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
    text(root / "messidor_data.csv", header, "a.png,2,1,1", "b.jpg,,,0", "c.jpg,1,0,1")
    photo(root / "IMAGES" / "a.png")
    photo(root / "IMAGES" / "b.JPG")


def ddr(root: Path) -> None:
    for folder, row in (("train", "007-0004-000.jpg 0"), ("valid", "007-0026-000.jpg 5"), ("test", "a.jpg 6")):
        text(root / "DR_grading" / f"{folder}.txt", row)
        photo(root / "DR_grading" / folder / row.split()[0])
    top_folder = root / "lesion_segmentation" / "train"
    photo(top_folder / "image" / "007-1774-100.jpg")
    for sub, greys in (("MA", (255,)), ("HE", ()), ("EX", (255, 255)), ("SE", ())):
        mask(top_folder / "label" / sub / "007-1774-100.tif", *greys)


def deepdrid(root: Path) -> None:
    header = "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level"
    for part, patient in (("training", 1), ("validation", 265)):
        name = f"regular-fundus-{part}"
        folder = root / "regular_fundus_images" / name
        text(
            folder / f"{name}.csv",
            header,
            rf"{patient},{patient}_l1,\{name}\{patient}\{patient}_l1.jpg,1,2,,3",
            rf"{patient},{patient}_r9,\{name}\{patient}\{patient}_r9.jpg,1,,2,3",
        )
        photo(folder / "Images" / str(patient) / f"{patient}_l1.jpg")


def deepdrid_uwf(root: Path) -> None:
    for part, patient in (("training", 1), ("validation", 34)):
        name = f"ultra-widefield-{part}"
        folder = root / "ultra-widefield_images" / name
        text(
            folder / f"{name}.csv",
            "patient_id,image_id,image_path,DR_level,position",
            rf"{patient},{patient}_l2,{name}\{patient}\{patient}_l2.jpg,1,left_eye",
            rf"{patient},{patient}_l3,{name}\{patient}\{patient}_l3.jpg,1,middle_eye",
        )
        photo(folder / "Images" / str(patient) / f"{patient}_l2.jpg")


def retinal_lesions(root: Path) -> None:
    text(root / "dr_grades.csv", "image id,kaggle label,our label", "20_left,1,2", "21_right,0,9")
    photo(root / "images_896x896" / "20_left.jpg")
    photo(root / "images_896x896" / "21_right.jpg")
    masks = root / "lesion_segs_896x896" / "20_left"
    mask(masks / "retinal_hemorrhage.png", 255, 127, 255)
    mask(masks / "microaneurysm.png", 127)


def brset_root(root: Path) -> None:
    columns = ("image_id", "patient_id", *brset.ANATOMY, "DR_ICDR", *brset.DIAGNOSES)
    base = dict.fromkeys(columns, "0") | dict.fromkeys(brset.ANATOMY, "1")
    rows = (
        {"image_id": "img00001", "patient_id": "1", "DR_ICDR": "2", "hemorrhage": "1"},
        {"image_id": "img00002", "patient_id": "2", "other": "1"},
        {"image_id": "img00003", "patient_id": "3", "drusens": "x"},
    )
    text(root / "labels.csv", ",".join(columns), *(",".join((base | row).values()) for row in rows))
    for row in rows:
        photo(root / "fundus_photos" / f"{row['image_id']}.jpg")


ODIR = ["ID", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords", "Right-Diagnostic Keywords"]


def _odir_rows(number: int) -> list[list[object]]:
    names = [f"{number}_left.jpg", f"{number}_right.jpg"]
    return [
        [number, *names, "suspected glaucoma\N{FULLWIDTH COMMA}drusen", "normal fundus"],
        [
            number + 1,
            f"{number + 1}_left.jpg",
            f"{number + 1}_right.jpg",
            "lens dust",
            "wet age-related macular degeneration",
        ],
    ]


def odir_5k(root: Path) -> None:
    workbook(root / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx", [ODIR, *_odir_rows(100)])
    for name in ("100_left", "100_right", "101_left", "101_right"):
        photo(root / "ODIR-5K_Training_Images" / f"{name}.jpg")


def oia_odir(root: Path) -> None:
    part = root / "On-site Test Set"
    workbook(part / "Annotation" / "on-site test annotation (English).xlsx", [ODIR, *_odir_rows(4833)])
    for name in ("4833_left", "4833_right", "4834_left", "4834_right"):
        photo(part / "Images" / f"{name}.jpg")


def rfmid_root(root: Path) -> None:
    for part, letter in (("Training", "a"), ("Validation", "b"), ("Testing", "c")):
        none = dict.fromkeys(rfmid.DISEASES, 0)
        rows = [
            {"ID": 1, "Disease_Risk": 1, **none, "MH": 1},
            {"ID": 2, "Disease_Risk": 0, **none},
            {"ID": 3, "Disease_Risk": 1, **none},
        ]
        table(root / "2. Groundtruths" / f"{letter}. RFMiD_{part}_Labels.csv", rows)
        for row in rows:
            photo(root / "1. Original Images" / f"{letter}. {part} Set" / f"{row['ID']}.png")


def jsiec(root: Path) -> None:
    for folder in ("0.0.Normal", "8.MH", "29.1.Blur fundus with suspected PDR", "40.New"):
        photo(root / "1000images" / folder / "a..JPG")


def fives(root: Path) -> None:
    for split, name in (("train", "1_A"), ("train", "2_X"), ("test", "1_N")):
        photo(root / split / "Original" / f"{name}.png")


def refuge(root: Path) -> None:
    for name in ("g0001", "n0001", "x0001"):
        photo(root / "train" / "Images" / f"{name}.jpg")
    (root / "train" / "index.json").write_text('{"0": {"ImgName": "g0001.jpg", "Fovea_X": 2, "Fovea_Y": 5}}')
    _disc_on_white(root / "train" / "gts" / "g0001.bmp")


def _disc_on_white(path: Path) -> None:
    """A disc of 4 px at (8.5, 3.5), its cup in black."""
    import numpy as np
    from PIL import Image

    pixels = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    pixels[3:5, 8:10] = 128
    pixels[3, 8] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def origa(root: Path) -> None:
    rows = [{"Eye": "OD", "Filename": f"00{i}.jpg", "Glaucoma": i} for i in range(3)]
    table(root / "OrigaList.csv", rows)
    for row in rows:
        photo(root / "Images" / str(row["Filename"]))
    mask(root / "Masks" / "000.png", 1, 2)


def g1020(root: Path) -> None:
    table(root / "G1020.csv", [{"imageID": f"image_{i}.jpg", "binaryLabels": i} for i in range(3)])
    for i in range(3):
        photo(root / "Images" / f"image_{i}.jpg")
    mask(root / "Masks" / "image_0.png", 1, 2)


def airogs(root: Path) -> None:
    labels = ("NRG", "RG", "U")
    table(root / "train_labels.csv", [{"challenge_id": f"TRAIN{i}", "class": name} for i, name in enumerate(labels)])
    for i in range(3):
        photo(root / str(i) / f"TRAIN{i}.jpg")


def papila(root: Path) -> None:
    headers: list[list[object]] = [[None, "Age", "Gender", "Diagnosis"], [None], ["ID"]]
    for side, rows in (("od", [["#002", 47, 0, 2], ["#004", 58, 1, 3]]), ("os", [["#002", 47, 0, 0]])):
        workbook(root / "ClinicalData" / f"patient_data_{side}.xlsx", [*headers, *rows])
        for row in rows:
            photo(root / "FundusImages" / f"RET{str(row[0])[1:]}{side.upper()}.jpg")
    for reader, corner in (("exp1", 4), ("exp2", 6)):
        text(
            root / "ExpertsSegmentations" / "Contours" / f"RET002OD_disc_{reader}.txt",
            *("2 2", f"{corner} 2", f"{corner} 4", "2 4"),
        )


def adam(root: Path) -> None:
    photo(root / "Training400" / "AMD" / "A0001.jpg")
    photo(root / "Training400" / "Non-AMD" / "N0001.jpg")
    photo(root / "Training400" / "Else" / "E0001.jpg")
    workbook(
        root / "Training400" / "Fovea_location.xlsx",
        [["ID", "imgName", "Fovea_X", "Fovea_Y"], [1, "A0001.jpg", 7, 4]],
    )
    masks = root / "Training400-Lesion" / "Lesion_Masks"
    for name in ("exudate", "scar"):
        (masks / name).mkdir(parents=True)
    black_on_white(masks / "drusen" / "A0001.bmp")
    black_on_white(masks / "hemorrhage" / "A0001.bmp")


def palm(root: Path) -> None:
    for name in ("P0001", "H0001", "N0001", "X0001"):
        photo(root / "PALM-Training400" / "PALM-Training400" / f"{name}.jpg")
    (root / "PALM-Training400" / "Lesion_Masks" / "Detachment").mkdir(parents=True)
    black_on_white(root / "PALM-Training400" / "Lesion_Masks" / "Atrophy" / "P0001.bmp")


def top_root(root: Path) -> None:
    cells = {"age": 70, "sex": "M", "LR": "L"} | dict.fromkeys((*top.DISEASES, "DM"), 0)
    rows = [
        {"filename": "000002_01.jpg", "ID": "03230", **cells, "DR": 1},
        {"filename": "000002_03.jpg", "ID": "01404", **cells},
        {"filename": "000004_00.jpg", "ID": "01404", **cells},
        {"filename": "000003_00.jpg", "ID": "01404", **cells, "RP": 9},
    ]
    table(root / "data.csv", rows)
    for row in rows:
        photo(root / "img" / str(row["filename"]))


def oct2017(root: Path) -> None:
    for name in ("train/CNV/CNV-1-1", "test/NORMAL/NORMAL-2-1", "train/DME/scan"):
        photo(root / "OCT2017" / f"{name}.jpeg")


def octdl(root: Path) -> None:
    rows = [
        {"file_name": f"{disease.lower()}_{i}_1", "disease": disease, "subcategory": kind, "patient_id": i, "eye": "OD"}
        for i, (disease, kind) in enumerate((("AMD", "late"), ("VID", "MH"), ("NO", ""), ("AMD", "wet")))
    ]
    table(root / "OCTDL_labels.csv", rows)
    for row in rows:
        photo(root / "OCTDL" / str(row["disease"]) / f"{row['file_name']}.jpg")


def octid(root: Path) -> None:
    for folder in ("MH", "NORMAL", "NEW"):
        photo(root / folder / "X39.jpeg")


def mmc_amd(root: Path) -> None:
    names = (("cfp", "f-w-ICG-5508-l"), ("cfp", "f-x-1"), ("oct", "o-h-219981_17"))
    for split in ("train", "val", "test"):
        for kind in ("cfp", "oct"):
            listed = [name for k, name in names if k == kind] if split == "train" else []
            text(root / f"mmc-amd-splitA-{split}" / "ImageSets" / f"{kind}.txt", *listed)
    for kind, name in names:
        photo(root / "ImageData" / ("cfp-448x448" if kind == "cfp" else "oct") / f"{name}.jpg")


def retouch(root: Path) -> None:
    for name in ("RETOUCH-TrainingSet-Cirrus_TRAIN001_048", "RETOUCH-TestSet-Topcon_TEST029_000", "slice"):
        photo(root / "pre_processed" / "oct_imgs" / f"{name}.png")
    mask(root / "pre_processed" / "oct_masks" / "RETOUCH-TrainingSet-Cirrus_TRAIN001_048.png", 50, 50, 150)


REPLICAS: dict[str, Callable[[Path], None]] = {
    "brset": brset_root,
    "rfmid": rfmid_root,
    "top": top_root,
    **{
        one.__name__: one
        for one in (
            *(eyepacs, aptos2019, idrid, messidor2, ddr, deepdrid, deepdrid_uwf, retinal_lesions, odir_5k, oia_odir),
            *(jsiec, fives, refuge, origa, g1020, airogs, papila, adam, palm, oct2017, octdl, octid, mmc_amd, retouch),
        )
    },
}
