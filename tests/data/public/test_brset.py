"""BRSET's labels of 0 and 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import bad, good, photo, text

from fundus_ray.data.public.brset import ANATOMY, DIAGNOSES, read
from fundus_ray.errors import DataError

COLUMNS = ("image_id", "patient_id", "exam_eye", *ANATOMY, "DR_ICDR", *DIAGNOSES, "iluminaton")


def row(name: str, **changes: int | str) -> str:
    base = dict.fromkeys(COLUMNS, "0") | {"image_id": name, "patient_id": "7"} | dict.fromkeys(ANATOMY, "1")
    return ",".join(str(value) for value in (base | changes).values())


def replica(root: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    text(root / "labels.csv", header, *rows)
    for number in range(1, 5):
        photo(root / "fundus_photos" / f"img{number:05d}.jpg")
    return root


def test_labels_become_diagnoses_and_findings(tmp_path: Path) -> None:
    rows = good(read(replica(tmp_path, row("img00001", DR_ICDR=2, drusens=1, increased_cup_disc=1, macula=2))))
    found = rows["fundus_photos/img00001.jpg"]
    assert found.diagnoses == ("diabetic retinopathy", "drusen", "large optic cup")
    assert found.findings == ("drusen", "enlarged_cup")
    assert (found.dr_grade, found.patient_id, found.eye) == (2, "7", "")


def test_no_label_and_a_normal_anatomy_is_normal(tmp_path: Path) -> None:
    rows = good(read(replica(tmp_path, row("img00001"), row("img00002", vessels=2), row("img00003", other=1))))
    assert [found.diagnoses for found in rows.values()] == [(), None, ("other",)]


def test_an_unmarked_haemorrhage_column_denies_no_haemorrhage(tmp_path: Path) -> None:
    found = good(read(replica(tmp_path, row("img00001", DR_ICDR=3))))["fundus_photos/img00001.jpg"]
    assert "retinal_haemorrhage" not in found.annotated
    assert "drusen" in found.annotated


def test_the_newer_release_s_column_name_is_read(tmp_path: Path) -> None:
    header = ",".join(COLUMNS).replace("drusens", "drusen")
    rows = good(read(replica(tmp_path, row("img00001", drusens=1), header=header)))
    assert rows["fundus_photos/img00001.jpg"].findings == ("drusen",)


def test_unknown_codes_and_missing_images_are_named(tmp_path: Path) -> None:
    rows = row("img00001", amd=2), row("img00002", optic_disc=0), row("img00003", DR_ICDR=""), row("img00009")
    kinds = ["unknown code", "unknown code", "missing value", "missing file"]
    assert bad(read(replica(tmp_path, *rows))) == [(f"labels.csv:{i}", kind) for i, kind in enumerate(kinds, start=2)]


def test_a_table_without_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the column patient_id"):
        list(read(replica(tmp_path, header=",".join(COLUMNS).replace("patient_id", "x"))))
