"""Label files: what a row is called, which traps of real files are read over, which errors name the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import text, workbook

from fundus_ray.data.tables import read_lines, read_table
from fundus_ray.errors import DataError


def test_csv_rows_carry_file_and_line_and_blank_rows_are_passed_over(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "a,b,,", "1, x ,,", ",,,", "", "2,y,,")
    rows = list(read_table(path, columns=("b", "a")))
    assert [(row.where, dict(row.cells)) for row in rows] == [
        ("t.csv:2", {"b": "x", "a": "1"}),
        ("t.csv:5", {"b": "y", "a": "2"}),
    ]


def test_a_quoted_line_break_counts_as_a_line(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "a,b", '"one', 'two",1', "x,2")
    assert [row.where for row in read_table(path, columns=("a",))] == ["t.csv:3", "t.csv:4"]


@pytest.mark.parametrize("header", ["Risk of macular edema ", "risk_of_macular_edema", "Risk of  Macular-Edema"])
def test_a_column_is_found_whatever_its_spaces_and_case(tmp_path: Path, header: str) -> None:
    path = text(tmp_path / "t.csv", f"x,{header}", "1,2")
    assert next(read_table(path, columns=("Risk of macular edema",))).cells == {"Risk of macular edema": "2"}


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "image,level", "10_left,0", encoding="utf-8-sig")
    assert next(read_table(path, columns=("image",))).cells == {"image": "10_left"}


def test_cells_that_a_row_lacks_are_empty(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "a,b", "1")
    assert next(read_table(path, columns=("a", "b"))).cells == {"a": "1", "b": ""}


def test_an_optional_column_is_left_out_where_the_file_lacks_it(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "a,b", "1,2")
    assert next(read_table(path, columns=("a",), optional=("b", "c"))).cells == {"a": "1", "b": "2"}


def test_a_column_that_another_release_calls_otherwise_is_read_under_the_asked_name(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "drusen", "1")
    assert next(read_table(path, columns=("drusens",), renamed={"drusen": "drusens"})).cells == {"drusens": "1"}


def test_xlsx_numbers_read_as_in_a_csv(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["image_id", "grade", "flag"], ["58_l2", 3.0, True], [None, None], [7, 1, 0]])
    rows = list(read_table(path, columns=("image_id", "grade", "flag")))
    assert [(row.where, list(row.cells.values())) for row in rows] == [
        ("t.xlsx:2", ["58_l2", "3", "1"]),
        ("t.xlsx:4", ["7", "1", "0"]),
    ]


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "id,grade", "1,2")
    with pytest.raises(DataError, match=r"t\.csv lacks the columns image, level; it has id, grade"):
        next(read_table(path, columns=("image", "level")))


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "grade,Grade", "1,2")
    with pytest.raises(DataError, match="has the column grade twice"):
        next(read_table(path, columns=("grade",)))


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    text(tmp_path / "train_labels.csv", "x")
    for name in ("train.csv", "train.xlsx"):
        with pytest.raises(DataError, match=r"train\.(csv|xlsx) does not exist; its folder holds train_labels\.csv"):
            next(read_table(tmp_path / name, columns=("x",)))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "name\nä\n".encode("latin-1"), "is not UTF-8 text"),
        ("t.csv", b"", "lacks the column name; it has nothing"),
        ("t.xlsx", b"name\n1\n", "is not an XLSX workbook"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(read_table(tmp_path / name, columns=("name",)))


def test_lines_carry_their_numbers(tmp_path: Path) -> None:
    path = text(tmp_path / "train.txt", "007-0004-000.jpg 0", "", "  a.jpg 5 ")
    assert list(read_lines(path)) == [("train.txt:1", "007-0004-000.jpg 0"), ("train.txt:3", "a.jpg 5")]
