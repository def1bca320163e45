"""Markdown files become passages by section, with their provenance."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.index import PASSAGES_DIR
from fundus_ray.knowledge.markdown import read_folder, split

FILE = Path("notes.md")


def test_sections_carry_title_source_and_licence_of_the_front_matter() -> None:
    text = "---\ntitle: T\nsource: 2003\nlicence: CC0\n---\nlead\n\n## One\n\na\nb\n\n## Two\n\nc\n"
    passages = split(text, name="notes", file=FILE)
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("notes#0", "T", "lead"),
        ("notes#1", "T: One", "a b"),
        ("notes#2", "T: Two", "c"),
    ]
    assert {(p.source, p.licence) for p in passages} == {("2003", "CC0")}


def test_without_front_matter_the_first_heading_is_the_title_and_the_file_the_source() -> None:
    (passage,) = split("# Drusen\r\n\r\nYellow.\r\n", name="notes", file=FILE)
    assert (passage.title, passage.text, passage.source, passage.licence) == (
        "Drusen",
        "Yellow.",
        "notes.md",
        "unknown",
    )


def test_empty_sections_are_left_out() -> None:
    assert split("# T\n\n## A\n\n## B\n", name="notes", file=FILE) == []


def test_shipped_passages_all_name_title_source_and_licence() -> None:
    passages = read_folder(PASSAGES_DIR)
    assert len({p.id.split("#")[0] for p in passages}) >= 12
    assert {p.licence for p in passages} == {"Apache-2.0 (written for this project)"}
    assert all(p.source and not p.source.endswith(".md") for p in passages)


def test_folders_are_read_recursively_and_ids_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("x")
    (tmp_path / "sub" / "a.md").write_text("y")
    assert [p.id for p in read_folder(tmp_path, prefix="user/")] == ["user/a#0", "user/sub/a#0"]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"h\xe4morrhage")
    with pytest.raises(DataError, match=r"latin\.md: passage cannot be read"):
        read_folder(tmp_path)


def test_broken_front_matter_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text("---\ntitle: [\n---\nx")
    with pytest.raises(DataError, match=r"bad\.md: front matter cannot be read"):
        read_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")
