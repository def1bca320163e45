"""A folder of documents becomes passages; every file and row that does not is named, and nothing else is lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge import ingest as module
from fundus_ray.knowledge.ingest import MAX_BYTES, READERS, Ingested, ingest, read_folder

XML = b"<article><body><p>retina</p></body></article>"


def read(folder: Path) -> Ingested:
    return read_folder(folder, prefix="user/", tokens=256)


def test_shipped_passages_are_whole_and_name_title_source_and_licence() -> None:
    found = ingest(KnowledgeConfig())
    assert found.problems == ()
    assert found.files == len(list(module.PASSAGES_DIR.rglob("*.md"))) >= 12
    assert len({p.id for p in found.passages}) == len(found.passages)
    assert {p.licence for p in found.passages} == {"Apache-2.0 (written for this project)"}
    assert all(p.title and p.source and not p.source.endswith(".md") for p in found.passages)
    assert all(len(p.text.split()) <= 192 for p in found.passages)  # 256 tokens


def test_a_broken_shipped_passage_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff")
    (tmp_path / "b.md").write_bytes(b"\xff")
    monkeypatch.setattr(module, "PASSAGES_DIR", tmp_path)
    with pytest.raises(DataError, match=r"shipped passage: .*a\.md: not UTF-8 at byte 0 .*more\); install fundus_ray"):
        ingest(KnowledgeConfig())


def test_a_folder_of_every_format_is_read_recursively_and_ids_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.md", "sub/a.md", "a.TXT"):
        (tmp_path / name).write_text("retina")
    (tmp_path / "a.html").write_text("<p>retina")
    (tmp_path / "a.nxml").write_bytes(XML)
    (tmp_path / "a.jsonl").write_text('{"text": "retina"}\n{"text": "retina", "id": "x"}\n')
    found = read(tmp_path)
    assert found.problems == ()
    assert found.files == 6
    assert [p.id for p in found.passages] == [
        "user/a.TXT#0",
        "user/a.html#0",
        "user/a.jsonl/1#0",
        "user/a.jsonl/x#0",
        "user/a#0",
        "user/a.nxml#0",
        "user/sub/a#0",
    ]
    assert {p.text for p in found.passages} == {"retina"}
    assert read(tmp_path) == found


def test_what_a_file_does_not_say_comes_from_its_name(tmp_path: Path) -> None:
    (tmp_path / "optic disc.txt").write_text("x")
    (passage,) = read(tmp_path).passages
    assert (passage.title, passage.source, passage.licence) == ("optic disc", "optic disc.txt", "unknown")


def test_user_passages_follow_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("retina")
    (tmp_path / "b.md").write_bytes(b"\xff")
    shipped, found = ingest(KnowledgeConfig()), ingest(KnowledgeConfig(passages_dir=str(tmp_path)))
    assert found.passages[:-1] == shipped.passages
    assert found.passages[-1].id == "user/a#0"
    assert found.files == shipped.files + 1
    (problem,) = found.problems
    assert problem == f"{tmp_path}/b.md: not UTF-8 at byte 0 (0xff); save it as UTF-8"


def test_the_budget_of_the_settings_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One two three four five. " * 20)
    found = ingest(KnowledgeConfig(passages_dir=str(tmp_path), passage_tokens=32)).passages
    texts = [p.text for p in found if p.id.startswith("user/")]
    assert [len(text.split()) for text in texts] == [20] * 5  # 24 words allowed, 100 given


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "a.txt: no text in it; remove it or fill it"),
        ("a.md", b"## heading only", "a.md: no text in it"),
        ("a.html", b"<script>x</script>", "a.html: no text in it"),
        ("a.jsonl", b"\n\n", "a.jsonl: no text in it"),
        ("a.xml", b"<article/>", "a.xml: no text in it"),
        ("a.jsonl", b"{", "a.jsonl:1: not JSON"),
        ("a.xml", b"<a", "a.xml: malformed XML"),
        ("a" * 240 + ".txt", b"x", ""),
        ("a.jsonl", b'{"text": "x", "id": "' + b"i" * 500 + b'"}', "its path or id is longer than 400 bytes"),
        ("a\nb.txt", b"\xff", "a b.txt: not UTF-8"),
        (b"\xff.txt", b"\xff", "\\xff.txt: not UTF-8"),
    ],
    ids=range(11),
)
def test_a_malformed_file_is_named_in_one_line(tmp_path: Path, name: str | bytes, data: bytes, message: str) -> None:
    Path(tmp_path, os.fsdecode(name)).write_bytes(data)
    (tmp_path / "z.txt").write_text("good")
    found = read(tmp_path)
    assert "good" in [p.text for p in found.passages]
    assert len(found.problems) == bool(message)
    assert all(message in problem and "\n" not in problem and problem.encode() for problem in found.problems)


def test_a_file_at_the_limit_goes_in_and_one_above_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x".rjust(MAX_BYTES))
    (tmp_path / "b.txt").write_bytes(b"x".rjust(MAX_BYTES + 1))
    found = read(tmp_path)
    assert [p.source for p in found.passages] == ["a.txt"]
    assert found.problems == (f"{tmp_path}/b.txt: larger than 5 MB; split it",)


def test_an_id_given_twice_is_named_and_the_first_stays(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": "x"}\n{"text": "two", "id": "x"}\n')
    found = read(tmp_path)
    assert [p.text for p in found.passages] == ["one"]
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path}/a.jsonl (x): the id 'user/a.jsonl/x' belongs to ")


def test_other_and_hidden_files_are_counted_in_one_line(tmp_path: Path) -> None:
    for name in ("a.txt", "a.pdf", "b.pdf", "noext", ".hidden.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "b.txt").write_text("x")
    found = read(tmp_path)
    assert [p.id for p in found.passages] == ["user/a.txt#0"]
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path}: 5 skipped (2 hidden, 2 .pdf, 1 no extension); read are .md, .html,")


def test_links_are_followed_and_a_loop_of_them_ends(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "a.txt").write_text("x")
    (folder / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "self").symlink_to(folder)
    found = read(folder)
    assert [p.id for p in found.passages] == ["user/link/a.txt#0"]
    assert found.problems == ()


def test_pipes_folders_and_broken_links_named_like_documents_are_no_documents(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder.txt" / "a.txt").write_text("x")
    found = read(tmp_path)
    assert [p.id for p in found.passages] == ["user/folder.txt/a.txt#0"]
    assert found.problems == (
        f"{tmp_path}/gone.txt: cannot be read: No such file or directory; check link and permissions",
        f"{tmp_path}/pipe.txt: not a regular file; remove it",
    )


def test_a_missing_folder_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder of passages; set knowledge\.passages_dir"):
        ingest(KnowledgeConfig(passages_dir=str(tmp_path / "nowhere")))


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.passages, found.files) == ((), 0)
    assert found.problems[0].startswith(f"{tmp_path}: no passage in it; put documents there (.md, .html,")


def test_a_missing_ontology_package_names_the_setting_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"knowledge\.hpo: .*pip install 'fundus-ray\[knowledge\]'"):
        ingest(KnowledgeConfig(hpo=True))


MARKS = (
    b"---\n", b"title: ", b"# ", b"## x\n", b"```", b"[x](y)", b"<", b">", b"</", b"<p>", b"<h2>", b"<!--", b"-->",
    b"<?xml version='1.0' encoding='", b"utf-16", b"'?>", b"<meta charset=", b"<![", b"<!DOCTYPE a [",
    b"<!ENTITY a 'b'>", b"]>",
    b"&a;", b"&#", b"<article>", b"</article>", b"<body>", b"<sec>", b"<title>", b'{"text": "', b'", "id": "', b'"}',
    b"\\ud800", b"\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b". A", b"\xed\xa0\x80", b"&#xD800;", b"*a &a",
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    datas=st.lists(st.binary(max_size=60) | st.lists(st.sampled_from(MARKS), max_size=12).map(b"".join), max_size=3),
    tokens=st.integers(32, 64),
)
def test_no_bytes_raise_anything_and_each_file_gives_passages_or_a_problem(datas: list[bytes], tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for extension in READERS:
            for number, data in enumerate(datas):
                Path(folder, f"f{number}{extension}").write_bytes(data)
        found = read_folder(Path(folder), tokens=tokens)
    for extension in READERS:
        for number in range(len(datas)):
            name = f"f{number}{extension}"
            named = f"{folder}/{name}"
            stem = f"f{number}" if extension == ".md" else name
            assert any(p.id.startswith((stem + "#", stem + "/")) for p in found.passages) or any(
                problem.startswith(named) for problem in found.problems
            )
    assert len({p.id for p in found.passages}) == len(found.passages)
    for passage in found.passages:
        assert passage.text
        assert len(passage.sha256) == 64
        assert passage.title.encode()
    assert all("\n" not in problem and problem.encode() for problem in found.problems)
