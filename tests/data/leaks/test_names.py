"""Keys of benchmarks (as FunBench writes them) and paths of readers that mean the same image."""

from __future__ import annotations

import pytest

from fundus_ray.data.leaks.names import image_name

SAME = [
    ("TOP/TOP/001805_00.jpg", "/data/tsukazaki/images/001805_00.JPG", "top"),
    (
        "DDR/DDR-dataset/lesion_segmentation/test/image/007-7111-400.jpg",
        "/mnt/ddr/DR_grading/test/007-7111-400.jpg",
        "ddr",
    ),
    ("OIA-ODIR/On-site Test Set/Images/4833_left.jpg", "/x/OIA-ODIR/Images/4833_left.jpg", "oia_odir"),
    ("OCTDL/OCTDL/AMD/amd_2135874_1.jpg", "/sets/octdl/AMD/amd_2135874_1.jpg", "octdl"),
    (
        "DeepDRiD/ultra-widefield_images/Online-Challenge3-Evaluation/Images/58/58_l2.jpg",
        "D:\\DeepDRiD\\ultra-widefield_images\\Online-Challenge3-Evaluation\\Images\\58\\58_l2.jpg",
        "deepdrid_uwf",
    ),
    ("UCSD/OCT2017/test/CNV/CNV-1016042-1.jpeg", "/k/OCT2017/test/CNV/CNV-1016042-1.jpeg", "oct2017"),
    ("IDRiD/B/b. Testing Set/IDRiD_001.jpg", "/i/Original Images/b. Testing Set/IDRiD_001.jpg", "idrid"),
    ("RFMiD/1. Original Images/c. Testing Set/7.png", "/r/Test_Set/Test_Set/Test/7.png", "rfmid"),
    ("RFMiD/Training_Set/Training_Set/Training/7.png", "/r/1. Original Images/a. Training Set/7.png", "rfmid"),
]
DIFFERENT = [
    # both halves of IDRiD count from 1
    ("IDRiD/B/b. Testing Set/IDRiD_001.jpg", "/i/a. Training Set/IDRiD_001.jpg", "idrid"),
    ("RFMiD/c. Testing Set/1.png", "/r/a. Training Set/1.png", "rfmid"),
    ("RFMiD/c. Testing Set/1.png", "/r/Training_Set/Training_Set/Training/1.png", "rfmid"),
    ("OIA-ODIR/On-site Test Set/Images/10_left.jpg", "/k/train/10_left.jpeg", "eyepacs"),
    ("TOP/TOP/001805_00.jpg", "/data/001805_01.jpg", "top"),
    ("DeepDRiD/ultra-widefield_images/x/58/58_l2.jpg", "/d/regular_fundus_images/x/58/58_l2.jpg", "deepdrid"),
    ("Other/a/1.jpg", "/mine/a/1.jpg", "mine"),
]
PATIENTS = [
    ("TOP/TOP/001805_00.jpg", ""),  # its number names no patient
    ("OIA-ODIR/On-site Test Set/Images/4833_left.jpg", "4833"),
    ("DeepDRiD/ultra-widefield_images/Online-Challenge3-Evaluation/Images/58/58_l2.jpg", "58"),
    ("RETOUCH/pre_processed/oct_imgs/RETOUCH-TrainingSet-Spectralis_TRAIN034_048.png", "train034"),
    ("RETOUCH/RETOUCH-TrainingSet-Spectralis/TRAIN034/oct.mhd", "train034"),
    ("UCSD/OCT2017/test/CNV/CNV-1016042-1.jpeg", "1016042"),
    ("OCTDL/OCTDL/AMD/amd_2135874_1.jpg", ""),
    # A person's eyes can be of two classes.
    ("MMC-AMD/mmc-amd/ImageData/cfp-448x448/f-w-ICG-5430-l.jpg", "icg-5430"),
    ("MMC-AMD/mmc-amd/ImageData/oct/o-d-ICG-5430-r_3.jpg", "icg-5430"),
    ("MMC-AMD/mmc-amd/ImageData/oct/o-h-212.jpg", "212"),
]


@pytest.mark.parametrize(("key", "path", "source"), SAME)
def test_same_image(key: str, path: str, source: str) -> None:
    one, other = image_name(key), image_name(path, source=source)
    assert (one.family, one.image) == (other.family, other.image)


@pytest.mark.parametrize(("key", "path", "source"), DIFFERENT)
def test_different_image(key: str, path: str, source: str) -> None:
    one, other = image_name(key), image_name(path, source=source)
    assert (one.family, one.image) != (other.family, other.image)


@pytest.mark.parametrize(("key", "patient"), PATIENTS)
def test_patient_of_a_name(key: str, patient: str) -> None:
    assert image_name(key).patient == patient


def test_a_path_names_its_set_where_the_source_does_not() -> None:
    assert image_name("/data/TOP/001805_00.jpg", source="rows") == image_name("TOP/TOP/001805_00.jpg")
