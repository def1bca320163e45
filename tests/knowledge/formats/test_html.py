"""A page becomes its text by heading, without menus and scripts."""

from __future__ import annotations

import time

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Document
from fundus_ray.knowledge.formats.html import read

PAGE = b"""<!DOCTYPE html><html><head><title>Drusen - EyeWiki</title><meta property="og:site_name" content="EyeWiki">
<link rel="canonical" href="https://eyewiki.org/Drusen"><link rel="license" href="https://eyewiki.org/licence">
<style>p { color: red }</style></head><body><nav>menu</nav><header><h1>Drusen</h1></header>
<p>Yellow micro<b>aneurysm</b>s.<sup class="reference">[1]</sup><br>Next line</p>
<h2>Signs<span class="mw-editsection">[edit]</span></h2><p>lead</p><h3>Early <i>signs</i></h3><ul><li>one<li>two</ul>
<table><tr><td>a</td><td>b</td></tr></table>
<h2>Late</h2>Pressure < 21 &amp; falling<!-- <p>hidden</p> --><script>if (a < b) { x = "<p>no" }</script>
<footer>imprint</footer></body></html>"""


def document(data: bytes) -> Document:
    (only,) = read(data, where="a.html").documents
    return only


def text(data: bytes) -> str:
    return " ".join(" ".join(" ".join(s.paragraphs) for s in document(data).sections).split())


def test_headings_make_sections_and_menus_scripts_and_footnote_marks_go() -> None:
    assert [(s.heading, [" ".join(p.split()) for p in s.paragraphs]) for s in document(PAGE).sections] == [
        ("", ["Yellow microaneurysms. Next line"]),
        ("Signs", ["lead"]),
        ("Signs > Early signs", ["one", "two", "a b"]),
        ("Late", ["Pressure < 21 & falling"]),
    ]


def test_the_head_gives_title_source_address_and_licence() -> None:
    found = document(PAGE)
    assert (found.title, found.source) == ("Drusen - EyeWiki", "EyeWiki")
    assert (found.url, found.licence) == ("https://eyewiki.org/Drusen", "https://eyewiki.org/licence")


def test_a_licence_in_a_meta_tag_and_the_host_as_source() -> None:
    found = document(b'<meta name="DC.rights" content="CC BY"><meta property="og:url" content="https://a.org/x"><p>t')
    assert (found.licence, found.url, found.source, found.title) == ("CC BY", "https://a.org/x", "a.org", "")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "/relative", "http://[bad"])
def test_an_address_that_cannot_be_opened_is_none(address: str) -> None:
    assert document(f'<link rel="canonical" href="{address}"><p>t'.encode()).url == ""


def test_a_page_with_a_main_part_is_that_part() -> None:
    assert text(b"<div>sidebar</div><main><p>text</p></main><div>more</div>") == "text"


def test_a_head_that_is_left_open_hides_nothing() -> None:
    assert text(b"<html><head><title>T</title><body><p>text") == "text"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("<p>\u00f6dem".encode(), "\u00f6dem"),
        ('<meta charset="windows-1252"><p>\u201c\u00f6dem\u201d'.encode("cp1252"), "\u201c\u00f6dem\u201d"),
        ('<meta charset="iso-8859-1"><p>\u201c\u00f6dem\u201d'.encode("cp1252"), "\u201c\u00f6dem\u201d"),
        ('<meta charset="utf-16"><p>\u00f6dem'.encode(), "\u00f6dem"),
        ("<p>\u00f6dem".encode("utf-16"), "\u00f6dem"),
        ('<meta charset="gb18030"><p>\u51fa\u8840'.encode("gb18030"), "\u51fa\u8840"),
    ],
)
def test_the_page_says_its_encoding(data: bytes, expected: str) -> None:
    assert text(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<p>\xf6dem", "a.html: not UTF-8 at byte 3 (0xf6)"),
        (b'<meta charset="ascii"><p>\x81', "a.html: not windows-1252, which it declares, at byte 25"),
        (b'<meta charset="klingon"><p>x', "a.html: declares an unknown encoding 'klingon'"),
        (b'<meta charset="hex"><p>x', "a.html: declares an unknown encoding 'hex'"),
        pytest.param(b"<p>&#" + b"9" * 5000 + b";", "a.html: HTML cannot be parsed", id="long number"),
    ],
)
def test_a_page_that_cannot_be_read_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(data, where="a.html")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "unit", [b"<a ", b"<!--", b"<!--x>", b"<![CDATA[x>", b"<a t=\"x>'<a t='>\"", b"<div>", b"<?x", b"&#1"]
)
def test_repeated_halves_of_tags_take_time_in_proportion(unit: bytes) -> None:
    started = time.process_time()
    read(unit * (50_000 // len(unit)), where="a.html")
    assert (
        time.process_time() - started < 10
    )  # the parser alone takes more than twice that for some, and 100 kB minutes
