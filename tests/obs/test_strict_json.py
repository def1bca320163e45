from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fundus_ray.errors import DataError
from fundus_ray.obs.strict_json import JsonLines, finite, line_of, read_json, read_lines, write_json


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def test_a_non_finite_number_is_null_and_named() -> None:
    line = line_of({"step": 1, "loss": math.nan, "ratio": math.inf})
    assert json.loads(line, parse_constant=refuse) == {
        "step": 1,
        "loss": None,
        "ratio": None,
        "non_finite": {"loss": "nan", "ratio": "inf"},
    }


def test_nested_numbers_are_made_finite_too() -> None:
    assert finite({"a": (1.0, -math.inf), 2: {"b": math.nan}}) == {"a": [1.0, None], "2": {"b": None}}


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert list(read_lines(path)) == [{"step": 1}]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"m\.jsonl line 2 is not JSON"):
        list(read_lines(path))


def test_a_line_is_readable_before_the_file_is_closed(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.append({"step": 1})
    assert list(read_lines(tmp_path / "m.jsonl")) == [{"step": 1}]
    lines.close()


def test_a_value_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json"):
        read_json(tmp_path / "gone.json")


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', "x" * 200_000])
@pytest.mark.parametrize("whole", ["", '{"step": 1}\n'])
def test_a_line_that_was_cut_short_is_not_continued(tmp_path: Path, torn: str, whole: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(whole + torn)
    lines = JsonLines(path)
    lines.append({"step": 3})
    lines.close()
    assert path.read_text() == whole + '{"step": 3}\n'
