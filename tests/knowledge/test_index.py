"""The index finds by meaning-bearing words and synonyms, is named by its content, and takes any query."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_ray.config import KnowledgeConfig
from fundus_ray.errors import DataError
from fundus_ray.knowledge.index import KnowledgeIndex, SearchError, snapshot_id
from fundus_ray.knowledge.markdown import Passage
from fundus_ray.knowledge.records import record_files


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeIndex:
    return KnowledgeIndex.build(KnowledgeConfig(), folder=tmp_path_factory.mktemp("knowledge"))


@pytest.mark.parametrize(
    ("query", "file"),
    [
        ("diabetic retinopathy first signs", "diabetic_retinopathy"),
        ("glaucoma enlarged optic cup", "enlarged_optic_cup"),
        ("CWS", "cotton_wool_spots"),
        ("RVO", "retinal_vein_occlusion"),
        ("AMD", "age_related_macular_degeneration"),
        ("soft exudates", "cotton_wool_spots"),
        ("left eye", "laterality"),
        ("vascular arcade", "landmarks"),
    ],
)
def test_best_passage_is_on_the_subject(index: KnowledgeIndex, query: str, file: str) -> None:
    best = index.search(query, 1)[0]
    assert best.passage_id.startswith(file + "#")


def test_evidence_is_ranked_and_carries_its_query(index: KnowledgeIndex) -> None:
    evidence = index.search("hard exudates in diabetes", 4)
    assert [e.rank for e in evidence] == [1, 2, 3, 4]
    assert [e.score for e in evidence] == sorted((e.score for e in evidence), reverse=True)
    assert {e.query for e in evidence} == {"hard exudates in diabetes"}
    assert all(e.text and e.title and e.source for e in evidence)


@pytest.mark.parametrize("query", ["", "   ", "?!", "\x00"])
def test_a_query_without_words_finds_nothing(index: KnowledgeIndex, query: str) -> None:
    assert index.search(query, 3) == ()


@pytest.mark.parametrize(
    "query", ['title:"drusen', "drusen AND", "(drusen", "[a TO drusen}", "drusen^", "*:* OR -drusen"]
)
def test_query_syntax_is_read_as_words(index: KnowledgeIndex, query: str) -> None:
    assert "rusen" in index.search(query, 1)[0].text


@settings(deadline=None)
@given(query=st.text(max_size=80), k=st.integers(-1, 5))
def test_any_text_is_a_valid_query(index: KnowledgeIndex, query: str, k: int) -> None:
    assert len(index.search(query, k)) <= max(k, 0)


def test_a_very_long_query_is_cut_not_refused(index: KnowledgeIndex) -> None:
    assert index.search("drusen " + " ".join(f"w{i}" for i in range(50_000)), 1)[0].passage_id.startswith("drusen#")


def test_building_twice_reuses_the_folder(tmp_path: Path) -> None:
    first = KnowledgeIndex.build(KnowledgeConfig(), folder=tmp_path)
    touched = tmp_path.stat().st_mtime_ns
    second = KnowledgeIndex.build(KnowledgeConfig(), folder=tmp_path)
    assert second.folder == first.folder == tmp_path / first.snapshot
    assert tmp_path.stat().st_mtime_ns == touched
    assert [p.name for p in tmp_path.iterdir()] == [first.snapshot]


def test_an_unfinished_folder_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no knowledge index here"):
        KnowledgeIndex.open(tmp_path)


def test_a_damaged_index_is_our_fault_and_says_so(tmp_path: Path) -> None:
    index = KnowledgeIndex.build(KnowledgeConfig(), folder=tmp_path)
    (index.folder / "meta.json").write_text("{")
    with pytest.raises(SearchError, match="cannot be opened"):
        KnowledgeIndex.open(index.folder)


def test_extra_passages_are_found_and_change_the_snapshot(tmp_path: Path, index: KnowledgeIndex) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "coats.md").write_text("# Coats disease\n\nTelangiectasia with massive subretinal exudation.\n")
    config = KnowledgeConfig(passages_dir=str(extra))
    larger = KnowledgeIndex.build(config, folder=tmp_path / "knowledge")
    assert larger.search("telangiectasia", 1)[0].passage_id == "user/coats#0"
    assert larger.snapshot != index.snapshot
    (extra / "coats.md").write_text("# Coats disease\n\nTelangiectasia.\n")
    assert KnowledgeIndex.build(config, folder=tmp_path / "knowledge").snapshot != larger.snapshot


def test_an_unreadable_extra_passage_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes(b"h\xe4morrhage")
    with pytest.raises(DataError, match=r"latin\.md"):
        KnowledgeIndex.build(KnowledgeConfig(passages_dir=str(tmp_path)), folder=tmp_path / "knowledge")


def test_snapshot_depends_on_the_passages_text_and_provenance() -> None:
    a = Passage(id="a#0", title="t", text="x", source="s", licence="l")
    changed = [
        Passage(id="a#0", title="t", text="y", source="s", licence="l"),
        Passage(id="a#0", title="t", text="x", source="s", licence="other"),
    ]
    ids = [snapshot_id([p]) for p in (a, a, *changed)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids)


def test_snapshot_depends_on_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot_id([])
    edited = tmp_path / "edited.yaml"
    edited.write_text(record_files()[0].read_text() + "# edited\n")
    files = [edited, *record_files()[1:]]
    monkeypatch.setattr("fundus_ray.knowledge.index.record_files", lambda: files)
    assert snapshot_id([]) != before


def test_two_processes_build_and_read_one_folder_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from fundus_ray.config import KnowledgeConfig\n"
        "from fundus_ray.knowledge.index import KnowledgeIndex\n"
        "index = KnowledgeIndex.build(KnowledgeConfig(), folder=Path(sys.argv[1]))\n"
        "print(index.snapshot, *(e.passage_id for e in index.search('drusen', 3)))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    here = KnowledgeIndex.build(KnowledgeConfig(), folder=tmp_path)
    expected = " ".join([here.snapshot, *(e.passage_id for e in here.search("drusen", 3))])
    assert [output.strip() for output in outputs] == [expected, expected]
    assert [p.name for p in tmp_path.iterdir()] == [here.snapshot]


def test_search_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SearchError("down")))
    assert isinstance(error, SearchError)
    assert str(error) == "down"
