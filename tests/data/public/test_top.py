"""TOP: ultra-wide-field photographs, with the patient in a column of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out, table
from replica import photo

from fundus_ray.data.public import top
from fundus_ray.errors import DataError
from fundus_ray.types import Modality


def row(name: str, patient: str, side: str, **present: object) -> dict[str, object]:
    return {"filename": name, "ID": patient, "age": 70, "sex": "M", "LR": side} | {
        column: present.get(column, 0) for column in (*top.DISEASES, "DM")
    }


def top_root(root: Path, rows: list[dict[str, object]], folder: str = "img") -> Path:
    table(root / "data.csv", rows)
    for cells in rows:
        photo(root / folder / str(cells["filename"]))
    return root


def test_diabetes_is_no_label_of_an_image(tmp_path: Path) -> None:
    rows = [row("000006_01.jpg", "04125", "L", DM=1), row("000011_01.jpg", "03719", "R", DR=1, RVO=1, DM=1)]
    images = kept(top.read(top_root(tmp_path, rows)))
    assert images["TOP/000006_01.jpg"].diagnoses == ()
    assert images["TOP/000011_01.jpg"].diagnoses == ("retinal vein occlusion", "diabetic retinopathy")
    assert (images["TOP/000011_01.jpg"].eye, images["TOP/000011_01.jpg"].modality) == ("R", Modality.UWF)


def test_the_patient_is_the_id_not_the_number_in_the_file_name(tmp_path: Path) -> None:
    rows = [row("000002_01.jpg", "03230", "R"), row("000002_03.jpg", "01404", "L"), row("000003_00.jpg", "01404", "R")]
    images = kept(top.read(top_root(tmp_path, rows)))
    assert [image.patient_id for image in images.values()] == ["03230", "01404", "01404"]


def test_funbenchs_layout_and_a_table_without_ids_are_read_too(tmp_path: Path) -> None:
    cells = row("001805_00.jpg", "", "L", MH=1)
    del cells["ID"]
    image = kept(top.read(top_root(tmp_path, [cells], "TOP")))["TOP/001805_00.jpg"]
    assert (image.diagnoses, image.patient_id) == (("macular hole",), "001805")


def test_a_table_without_ids_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row("000000_00.jpg", "", "L"), row("000000_01.jpg", "", "R")]
    for cells in rows:
        del cells["ID"]
    kept(top.read(top_root(tmp_path, rows)))
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/data.csv lacks the column ID; patients are told apart by file names alone, and not well"
    ]


def test_empty_cells_of_patient_or_file_are_left_out(tmp_path: Path) -> None:
    root = top_root(tmp_path, [row("000000_00.jpg", "", "L")])
    ((where, kind, why),) = left_out(top.read(root))
    assert (where, kind) == ("data.csv:2", "missing value")
    assert why.startswith("the patient's id is empty")
    table(root / "data.csv", [row("", "1", "L")])
    assert left_out(top.read(root)) == [("data.csv:2", "missing value", "filename is empty; a file name is expected")]


def test_other_codes_are_left_out(tmp_path: Path) -> None:
    rows = [row("000000_00.jpg", "1", "B"), row("000000_01.jpg", "1", "L", RP=9)]
    assert left_out(top.read(top_root(tmp_path, rows))) == [
        ("data.csv:2", "unknown code", "LR is 'B'; allowed are L, R"),
        ("data.csv:3", "unknown code", "RP is '9'; allowed are 0, 1"),
    ]


def test_without_its_table_the_set_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label file not found; looked for 'data\.csv'"):
        list(top.read(tmp_path))
