"""ODIR-5K and OIA-ODIR: an eye is labelled by its own keywords."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from labelled_rows import kept, left_out, table
from replica import photo, workbook

from fundus_ray.data.importing import import_set
from fundus_ray.data.public import odir_5k, oia_odir
from fundus_ray.data.public.odir import read_keywords
from fundus_ray.data.public.reading import RowError
from fundus_ray.errors import DataError

HEADER = [
    *("ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus"),
    *("Left-Diagnostic Keywords", "Right-Diagnostic Keywords"),
    *"NDGCAHMO",
]
LABELS = "ODIR-5K_Training_Annotations(Updated)_V2.xlsx"
IMAGES = "ODIR-5K_Training_Images/ODIR-5K_Training_Dataset"


def wide(*keywords: str) -> str:
    """Keywords as the table joins them."""
    return "\N{FULLWIDTH COMMA}".join(keywords)


def patient(number: int, left: str, right: str, codes: str) -> list[object]:
    """A row; `codes` are the patient's N to O."""
    return [number, 60, "Male", f"{number}_left.jpg", f"{number}_right.jpg", left, right, *map(int, codes)]


def odir_root(root: Path, rows: Sequence[Sequence[object]]) -> Path:
    workbook(root / LABELS, [HEADER, *rows])
    for row in rows:
        for name in row[3:5]:
            photo(root / IMAGES / str(name))
    return root


def test_an_eye_takes_no_label_from_the_patients_codes(tmp_path: Path) -> None:
    root = odir_root(tmp_path, [patient(0, "cataract", "normal fundus", "00010000")])
    eyes = kept(odir_5k.read(root))
    left, right = eyes["0_left.jpg"], eyes["0_right.jpg"]
    assert (left.eye, left.diagnoses, left.patient_id, left.image) == (
        "L",
        ("cataract",),
        "0",
        root / IMAGES / "0_left.jpg",
    )
    assert (right.eye, right.diagnoses, right.patient_id) == ("R", (), "0")


def test_the_full_width_comma_separates_keywords(tmp_path: Path) -> None:
    root = odir_root(
        tmp_path, [patient(2, wide("laser spot", "moderate non proliferative retinopathy"), "drusen", "01000001")]
    )
    left = kept(odir_5k.read(root))["2_left.jpg"]
    assert left.diagnoses == ("laser scars", "diabetic retinopathy")
    assert left.dr_grade == 2


def test_pictures_that_show_no_fundus_are_left_out_by_name(tmp_path: Path) -> None:
    keywords = wide("no fundus image", "lens dust")
    root = odir_root(tmp_path, [patient(7, "anterior segment image", keywords, "10000000")])
    assert left_out(odir_5k.read(root)) == [
        (
            f"{LABELS}:2, left eye",
            "no fundus",
            "keywords are 'anterior segment image': anterior segment image shows no fundus",
        ),
        (
            f"{LABELS}:2, right eye",
            "no fundus",
            f"keywords are {keywords!r}: no fundus image shows no fundus",
        ),
    ]


def test_a_missing_image_leaves_out_its_eye_alone(tmp_path: Path) -> None:
    root = odir_root(tmp_path, [patient(3, "glaucoma", "glaucoma", "00100000")])
    (root / IMAGES / "3_left.jpg").unlink()
    items = list(odir_5k.read(root))
    assert list(kept(items)) == ["3_right.jpg"]
    ((where, kind, why),) = left_out(items)
    assert (where, kind) == (f"{LABELS}:2, left eye", "missing file")
    assert "3_left.jpg does not exist" in why


def test_each_eye_without_a_file_name_is_named(tmp_path: Path) -> None:
    rows = [patient(n, "normal fundus", "cataract", "00010000") for n in (1, 2)]
    root = odir_root(tmp_path, rows)
    workbook(root / LABELS, [HEADER, *([*row[:3], "", *row[4:]] for row in rows)])
    items = list(odir_5k.read(root))
    assert list(kept(items)) == ["1_right.jpg", "2_right.jpg"]
    assert [(where, kind) for where, kind, _ in left_out(items)] == [
        (f"{LABELS}:2, left eye", "missing value"),
        (f"{LABELS}:3, left eye", "missing value"),
    ]


def test_kaggles_table_which_repeats_a_patient_gives_each_eye_once(tmp_path: Path) -> None:
    row = dict(zip(HEADER, patient(1, "normal fundus", "cataract", "00010000"), strict=True))
    table(tmp_path / "full_df.csv", [row | {"filename": "1_right.jpg"}, row | {"filename": "1_left.jpg"}])
    for side in ("left", "right"):
        photo(tmp_path / "preprocessed_images" / f"1_{side}.jpg")
    items = list(odir_5k.read(tmp_path))
    assert [(item.key, item.diagnoses) for item in kept(items).values()] == [
        ("1_left.jpg", ()),
        ("1_right.jpg", ("cataract",)),
    ]
    assert len(items) == 2


@pytest.mark.parametrize(
    ("text", "diagnoses", "grade"),
    [
        (wide("normal fundus", "lens dust"), (), 0),
        ("abnormal pigment ", ("abnormal pigment",), None),
        ("optic disc edema", ("optic disc oedema",), None),
        (
            "Dry age-related macular degeneration",
            ("age-related macular degeneration", "dry age-related macular degeneration"),
            None,
        ),
        (wide("drusen", "drusen", "epiretinal membrane over the macula"), ("drusen", "epiretinal membrane"), None),
        ("severe proliferative diabetic retinopathy", ("diabetic retinopathy",), 4),
        ("suspected diabetic retinopathy", ("suspected diabetic retinopathy",), None),
        ("hypertensive retinopathy,diabetic retinopathy", ("hypertensive retinopathy", "diabetic retinopathy"), None),
    ],
)
def test_keywords_become_diagnoses(text: str, diagnoses: tuple[str, ...], grade: int | None) -> None:
    assert read_keywords(text) == (diagnoses, grade)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lens dust", "ungradable"),
        (wide("low image quality", "image offset"), "ungradable"),
        ("no fundus image", "no fundus"),
        ("", "missing value"),
        (wide("normal fundus", "drusen"), "contradiction"),
    ],
)
def test_keywords_that_label_no_eye_are_refused(text: str, kind: str) -> None:
    with pytest.raises(RowError) as refused:
        read_keywords(text)
    assert refused.value.kind == kind


def test_a_strict_import_leaves_out_what_the_set_marks_itself_and_stops_at_a_fault(tmp_path: Path) -> None:
    rows = [
        patient(1, "anterior segment image", "lens dust", "00000001"),
        patient(2, "cataract", "glaucoma", "00110000"),
    ]
    root, out = odir_root(tmp_path / "in", rows), tmp_path / "out"
    report = import_set(odir_5k.SET, root=root, out=out, strict=True)
    assert (report.images, report.left_out) == (2, {"no fundus": 1, "ungradable": 1})
    odir_root(root, [*rows, patient(3, "", "normal fundus", "00010000")])
    with pytest.raises(DataError, match="4, left eye: the keywords of this eye are empty"):
        import_set(odir_5k.SET, root=root, out=out, strict=True)


def test_oia_odir_reads_each_part_that_is_there(tmp_path: Path) -> None:
    for part, name, number in (("Training Set", "training", 1), ("On-site Test Set", "on-site test", 4833)):
        rows = [HEADER, patient(number, "glaucoma", "normal fundus", "00100000")]
        workbook(tmp_path / part / "Annotation" / f"{name} annotation (English).xlsx", rows)
        workbook(tmp_path / part / "Annotation" / f"{name} annotation.xlsx", [["编号"]])
        for side in ("left", "right"):
            photo(tmp_path / part / "Images" / f"{number}_{side}.jpg")
    eyes = kept(oia_odir.read(tmp_path))
    assert eyes["On-site Test Set/Images/4833_left.jpg"].official_split == "test"
    assert eyes["Training Set/Images/1_right.jpg"].official_split == "train"
    assert len(eyes) == 4


def test_a_set_without_its_table_or_a_column_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="annotation table not found"):
        list(odir_5k.read(tmp_path))
    with pytest.raises(DataError, match="part of the set not found"):
        list(oia_odir.read(tmp_path))
    workbook(tmp_path / LABELS, [[name for name in HEADER if name != "Left-Fundus"]])
    (tmp_path / IMAGES).mkdir(parents=True)
    with pytest.raises(DataError, match="lacks the column Left-Fundus"):
        list(odir_5k.read(tmp_path))
