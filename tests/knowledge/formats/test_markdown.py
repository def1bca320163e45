"""Markdown becomes sections by heading, with the provenance of its front matter."""

from __future__ import annotations

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Document
from fundus_ray.knowledge.formats.markdown import read


def document(text: str) -> Document:
    (only,) = read(text.encode(), where="notes.md").documents
    return only


def outline(text: str) -> list[tuple[str, list[str]]]:
    return [(s.heading, [" ".join(p.split()) for p in s.paragraphs]) for s in document(text).sections]


def test_front_matter_gives_title_source_url_and_licence() -> None:
    found = document("---\ntitle: T\nsource: 2003\nurl: https://a.org\nlicence: CC0\n---\ntext\n")
    assert (found.title, found.source, found.url, found.licence) == ("T", "2003", "https://a.org", "CC0")


def test_without_front_matter_the_first_heading_is_the_title() -> None:
    found = document("# Drusen\r\n\r\nYellow.\r\n")
    assert (found.title, found.source, found.licence) == ("Drusen", "", "")
    assert outline("# Drusen\r\n\r\nYellow.\r\n") == [("", ["Yellow."])]


def test_sections_nest_to_the_third_level_and_deeper_headings_are_lines() -> None:
    text = "lead\n\n## One\n\na\nb\n\n### In one\nc\n#### Deep\nd\n## Two ##\n\ne\n"
    assert outline(text) == [
        ("", ["lead"]),
        ("One", ["a b"]),
        ("One > In one", ["c", "Deep", "d"]),
        ("Two", ["e"]),
    ]


def test_an_empty_section_stays_in_the_count() -> None:
    assert outline("## A\n## B\nx") == [("", []), ("A", []), ("B", ["x"])]


def test_list_items_are_paragraphs_and_links_and_bold_type_are_words() -> None:
    text = "- **one** [two](https://a.org)\n- ![three](b.png)\n1. 2**x and a_b__c"
    assert outline(text) == [("", ["- one two", "- three", "1. 2x and a_b__c"])]


def test_a_hash_in_a_code_block_is_no_heading() -> None:
    assert outline("```\n# x\n```\n## A\ny") == [("", ["# x"]), ("A", ["y"])]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"h\xe4morrhage", "notes.md: not UTF-8 at byte 1 (0xe4); save it as UTF-8"),
        (b"\xef\xbb\xbfab\xff", "notes.md: not UTF-8 at byte 5 (0xff)"),
        (b"---\ntitle: [\n---\nx", "notes.md: front matter cannot be read"),
        (b"---\ntitle: [a]\n---\nx", "notes.md: front matter must hold title, source, url, licence as text"),
        (b"---\n- a\n---\nx", "notes.md: front matter must hold"),
        pytest.param(b"---\ntitle: " + b"[" * 1000 + b"\n---\nx", "notes.md: front matter cannot be read", id="nest"),
        pytest.param(b"---\n" + b"x" * 30_000 + b"\n---\nx", "notes.md: front matter longer than 4000", id="long"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(data, where="notes.md")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
