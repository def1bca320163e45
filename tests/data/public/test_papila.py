"""PAPILA: a sheet for each eye, below rows of headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo, workbook

from fundus_ray.data.public import papila
from fundus_ray.errors import DataError

HEADERS: list[list[object]] = [
    [None, "Age", "Gender", "Diagnosis", "Refractive Defect", None],
    [None] * 4 + ["dioptre_1", "dioptre_2"],
    ["ID"],
]


def papila_root(root: Path, od: list[list[object]], os: list[list[object]]) -> Path:
    for side, rows in (("od", od), ("os", os)):
        workbook(root / "ClinicalData" / f"patient_data_{side}.xlsx", [*HEADERS, *rows])
        for row in rows:
            photo(root / "FundusImages" / f"RET{str(row[0]).removeprefix('#')}{side.upper()}.jpg")
    return root


def test_each_eye_has_its_own_diagnosis(tmp_path: Path) -> None:
    od = [["#002", 47, 0, 2, 0.75], ["#004", 58, 1, 1.0, 1.5]]
    images = kept(papila.read(papila_root(tmp_path, od, [["#002", 47, 0, 0, 0.5]])))
    assert {key: (image.diagnoses, image.eye, image.patient_id) for key, image in images.items()} == {
        "FundusImages/RET002OD.jpg": (("suspected glaucoma",), "R", "002"),
        "FundusImages/RET004OD.jpg": (("glaucoma",), "R", "004"),
        "FundusImages/RET002OS.jpg": ((), "L", "002"),
    }


def test_another_code_is_named_by_sheet_and_row(tmp_path: Path) -> None:
    items = papila.read(papila_root(tmp_path, [["#002", 47, 0, 3, 0.75]], [["#002", 47, 0, None, 0.75]]))
    assert left_out(items) == [
        ("patient_data_od.xlsx:4", "unknown code", "Diagnosis is '3'; allowed are 0, 1, 2"),
        ("patient_data_os.xlsx:4", "missing value", "Diagnosis is empty; allowed are 0, 1, 2"),
    ]


def test_a_sheet_without_the_column_makes_the_set_unusable(tmp_path: Path) -> None:
    papila_root(tmp_path, [], [])
    (tmp_path / "FundusImages").mkdir()
    workbook(tmp_path / "ClinicalData" / "patient_data_od.xlsx", [[None, "Age"], ["#002", 47]])
    with pytest.raises(DataError, match=r"patient_data_od\.xlsx lacks the column Diagnosis"):
        list(papila.read(tmp_path))
