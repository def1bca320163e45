"""Plain text becomes one section of paragraphs."""

from __future__ import annotations

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Section
from fundus_ray.knowledge.formats.plain import read


def test_blank_lines_part_paragraphs_in_every_line_ending() -> None:
    for end in ("\n", "\r\n", "\r"):
        (found,) = read(end.join(["one", "two", "  ", "three"]).encode(), where="a.txt").documents
        assert found.sections == (Section("", ("one\ntwo", "three")),)
        assert found.title == ""


def test_a_bad_byte_is_named() -> None:
    with pytest.raises(DataError, match=r"a\.txt: not UTF-8 at byte 3 \(0xff\); save it as UTF-8"):
        read(b"abc\xff", where="a.txt")
