"""Each good row becomes a document; each bad one is named by file and row."""

from __future__ import annotations

import json

import pytest

from fundus_ray.knowledge.document import Document, Section
from fundus_ray.knowledge.formats.jsonl import read


def test_a_row_carries_its_provenance_and_blank_lines_count_as_rows() -> None:
    row = {
        "text": "one\n\ntwo",
        "title": "T",
        "section": "S",
        "source": "AAO",
        "url": "https://a.org",
        "licence": "CC0",
        "id": "x",
    }
    data = b'\n{"text": "y", "title": null}\r\n' + json.dumps(row).encode()
    assert read(data, where="f").documents == (
        Document(sections=(Section("", ("y",)),), name="2"),
        Document((Section("S", ("one", "two")),), "T", "AAO", "https://a.org", "CC0", "x"),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"{", "f:2: not JSON: "),
        (b"[1]", "f:2: not an object"),
        (b"NaN", "f:2: not an object"),
        (b'{"title": "T"}', "f:2: `text` is missing or empty"),
        (b'{"text": " "}', "f:2: `text` is missing or empty"),
        (b'{"text": 3}', "f:2: text must be text in quotes, got '3'"),
        (b'{"text": "a", "url": ["b"]}', "f:2: url must be text in quotes"),
        (b'{"text": "\xff"}', "f:2: not UTF-8 at byte 25 (0xff)"),  # of the file
        pytest.param(b"[" * 100_000, "f:2: nested too deeply", id="nest"),
        pytest.param(b'{"text": ' + b"1" * 5000 + b"}", "f:2: not JSON", id="long number"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_in(row: bytes, message: str) -> None:
    found = read(b'{"text":"one"}' + b"\n" + row + b'\n{"text":"two"}', where="f")
    assert [d.name for d in found.documents] == ["1", "3"]
    (problem,) = found.problems
    assert problem.startswith(message)
    assert "\n" not in problem


def test_unknown_keys_are_ignored_aloud() -> None:
    found = read(b'{"text": "a"}\n{"text": "b", "license": "CC0"}', where="f")
    assert len(found.documents) == 2
    assert found.problems[0].startswith("f: unknown keys ignored: 'license' (row 2); a row has text, title,")


def test_of_very_many_bad_rows_the_first_are_named_and_the_rest_counted() -> None:
    found = read(b"x\n" * 250, where="f")
    assert len(found.problems) == 101
    assert found.problems[-1].startswith("f: 150 more rows left out")
