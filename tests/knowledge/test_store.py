"""One configuration makes one corpus and one snapshot id, whichever store holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fundus_ray.config import KnowledgeConfig, load
from fundus_ray.errors import ConfigError, DataError
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.store import BuiltStore, build_store, open_store, read_corpus


@pytest.fixture
def own(tmp_path: Path) -> KnowledgeConfig:
    """Settings with a folder of one document."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "coats.md").write_text("# Coats disease\n\nTelangiectasia with massive exudation.\n")
    return KnowledgeConfig(passages_dir=str(documents))


def test_a_users_documents_join_the_corpus_and_change_the_snapshot(own: KnowledgeConfig) -> None:
    shipped, larger = read_corpus(KnowledgeConfig()), read_corpus(own)
    added = {p.id: p.title for p in larger.passages if p not in shipped.passages}
    assert set(added.values()) == {"Coats disease"}
    assert all(name.startswith("user/coats") for name in added)
    assert larger.snapshot != shipped.snapshot
    assert [p.id for p in larger.passages] == sorted(p.id for p in larger.passages)


def test_bad_documents_are_named_and_a_passage_without_words_is_left_out(own: KnowledgeConfig) -> None:
    folder = Path(own.passages_dir)
    (folder / "latin.md").write_bytes(b"h\xe4morrhage")
    (folder / "dots.md").write_text("# Dots\n\n. . .\n")
    corpus = read_corpus(own)
    assert any("latin.md" in problem for problem in corpus.problems)
    assert any("dots" in problem for problem in corpus.problems)
    assert not [p for p in corpus.passages if p.id.startswith("user/dots")]


async def test_a_store_opens_elsewhere_by_folder_and_snapshot(own: KnowledgeConfig, tmp_path: Path) -> None:
    built = await build_store(own, folder=tmp_path)
    opened = await open_store(own, BuiltStore(folder=tmp_path, snapshot=built.snapshot))
    assert opened.snapshot == built.snapshot
    (found,) = await opened.search(["telangiectasia, massive exudation"], k=1)
    assert found[0].title == "Coats disease"


async def test_a_folder_of_another_snapshot_is_refused_by_name(own: KnowledgeConfig, tmp_path: Path) -> None:
    await build_store(own, folder=tmp_path)
    other = read_corpus(KnowledgeConfig()).snapshot
    with pytest.raises(DataError, match=f"{other}: no knowledge index here"):
        await open_store(own, BuiltStore(folder=tmp_path, snapshot=other))


async def test_no_server_is_a_search_error_that_names_the_address(own: KnowledgeConfig, tmp_path: Path) -> None:
    config = replace(own, store="elasticsearch", url="http://127.0.0.1:1", retries=0)
    with pytest.raises(SearchError, match=r"http://127\.0\.0\.1:1: "):
        await build_store(config, folder=tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["knowledge.url=http://127.0.0.1"], "must be http://HOST:PORT"),
        (["knowledge.url=ftp://127.0.0.1:9200"], "must be http://HOST:PORT"),
        (["knowledge.url=http://127.0.0.1:port"], "must be http://HOST:PORT"),
        (["knowledge.index=Fundus*"], "cannot name an index"),
        (["knowledge.ca_certs=/no/such.pem"], "is not a file"),
        (["knowledge.ca_certs=pyproject.toml"], "is for https"),
        (["knowledge.api_key_env=NO_SUCH_VARIABLE"], "this environment variable is not set"),
    ],
)
def test_settings_that_cannot_reach_a_cluster_are_refused_before_anything_starts(
    settings: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, ["knowledge.store=elasticsearch", *settings])


@pytest.mark.parametrize("key", ["url=http://127.0.0.1:9201", "index=other", "timeout_s=9", "retries=1"])
def test_settings_of_a_cluster_without_one_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"has no effect with knowledge.store=embedded"):
        load(None, [f"knowledge.{key}"])
