"""Against a real server: the alias never points to half an index, and every failure names the host and a remedy."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch, NotFoundError
from numpy.typing import NDArray

from fundus_ray.config import Config, KnowledgeConfig
from fundus_ray.knowledge import elastic
from fundus_ray.knowledge.elastic import ElasticStore, build
from fundus_ray.knowledge.elastic_client import Cluster
from fundus_ray.knowledge.elastic_query import index_body
from fundus_ray.knowledge.embedded import EmbeddedStore
from fundus_ray.knowledge.embedded import build as build_embedded
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.store import BuiltStore, open_store
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.reward.evidence import EvidenceSearch
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.types import ImageRef, Modality, PolicyVersion, Prompt, Rollout, RolloutGroup, Sample

TEXTS = ("zebra zebra lion", "zebra", "lion lion lion lion", "zebra crossing", "zebra")
PASSAGES = [Passage(f"p#{i}", "title", "", text, "s", "u", "l") for i, text in enumerate(TEXTS)]
VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)


class CutOff(Exception):
    """The builder's process dies here."""


@pytest.fixture
async def cluster(on_server: KnowledgeConfig) -> AsyncIterator[Cluster]:
    connected = Cluster(on_server)
    yield connected
    # By name: a cluster may refuse to delete by wildcard.
    for name in await connected.ask("listing", lambda es: es.indices.get(index=f"{on_server.index}-*")):
        await connected.ask("cleaning up", lambda es, name=name: es.indices.delete(index=name))  # type: ignore[misc]
    await connected.close()


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.tile(np.array([0.6, 0.8], np.float32), (len(texts), 1))


async def opened(cluster: Cluster, alias: str, *, snapshot: str = "feed", hybrid: bool = False) -> ElasticStore:
    return await ElasticStore.open(
        cluster, alias=alias, snapshot=snapshot, vocabulary=load_vocabulary(), encode=encode if hybrid else None
    )


def group_of(chain: str) -> RolloutGroup:
    image = ImageRef(path="x.png", sha256="0", width_px=112, height_px=112)
    options = ("normal", "glaucoma")
    sample = Sample("s", image, Modality.CFP, "Which?", options, ("normal",), "diagnosis", "test", "train", "p")
    rollout = Rollout((1,), (-1.0,), chain, "stop", seed=0, policy=PolicyVersion(0, "0"))
    return RolloutGroup(Prompt(sample, "", "", group_id=0, seed=0), (1,), (rollout,), "w", 0.0, 0.0)


async def put(cluster: Cluster, alias: str, *, snapshot: str = "feed", hybrid: bool = False) -> None:
    vectors = (lambda: VECTORS) if hybrid else None
    await build(cluster, PASSAGES, alias=alias, snapshot=snapshot, vectors=vectors)


@pytest.mark.parametrize("hybrid", [False, True])
async def test_it_answers_as_the_embedded_store(
    cluster: Cluster, on_server: KnowledgeConfig, tmp_path: Path, hybrid: bool
) -> None:
    await put(cluster, on_server.index, hybrid=hybrid)
    there = await opened(cluster, on_server.index, hybrid=hybrid)
    folder = build_embedded(PASSAGES, snapshot="feed", folder=tmp_path, vectors=(lambda: VECTORS) if hybrid else None)
    here = EmbeddedStore.open(folder, vocabulary=load_vocabulary(), encode=encode if hybrid else None)
    queries = ["zebras", "lion crossing", "?!", "title", "nothing"]
    for found, expected in zip(await there.search(queries, k=4), await here.search(queries, k=4), strict=True):
        assert [replace(e, score=0) for e in found] == [replace(e, score=0) for e in expected]
        assert [e.score for e in found] == pytest.approx([e.score for e in expected], rel=1e-6)


async def test_the_alias_moves_to_the_newest_snapshot_and_every_snapshot_is_opened_by_its_own_index(
    cluster: Cluster, on_server: KnowledgeConfig
) -> None:
    alias = on_server.index
    await put(cluster, alias, snapshot="old")
    await put(cluster, alias, snapshot="new")
    assert list(await cluster.ask("reading", lambda es: es.indices.get_alias(name=alias))) == [f"{alias}-new"]
    for snapshot in ("old", "new"):
        store = await opened(cluster, alias, snapshot=snapshot)
        assert (store.snapshot, len((await store.search(["zebra"], k=9))[0])) == (snapshot, 4)
    with pytest.raises(SearchError, match=rf"no index {alias}-other, .*; {alias} stands for {alias}-new; .*build it"):
        await opened(cluster, alias, snapshot="other")


async def test_runs_with_other_knowledge_on_one_cluster_score_by_their_own(
    cluster: Cluster, on_server: KnowledgeConfig
) -> None:
    for snapshot in ("old", "new"):
        passages = [Passage(f"{snapshot}#0", "Microaneurysms", "", "Microaneurysms are red dots.", "s", "u", "l")]
        await build(cluster, passages, alias=on_server.index, snapshot=snapshot, vectors=None)
    chain = "<think>Findings: microaneurysms. Conclusion: normal.</think><answer>A</answer>"
    for snapshot in ("old", "new"):
        worker = RewardWorker(Config(knowledge=on_server), BuiltStore(folder=Path(), snapshot=snapshot))
        await worker.start()
        (scored,) = (await worker.score(group_of(chain))).scored
        assert {item.passage_id for item in scored.evidence} == {f"{snapshot}#0"}
        assert scored.snapshot == snapshot


async def test_a_build_that_was_cut_off_has_no_alias_and_is_completed_by_the_next(
    cluster: Cluster, on_server: KnowledgeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "_BULK_DOCUMENTS", 2)
    write, written = elastic._write, 0

    async def cut_off(cluster: Cluster, name: str, lines: list[Any]) -> None:
        nonlocal written
        if written == 1:
            raise CutOff
        written += 1
        await write(cluster, name, lines)

    monkeypatch.setattr(elastic, "_write", cut_off)
    with pytest.raises(CutOff):
        await put(cluster, on_server.index)
    with pytest.raises(SearchError, match=f"index {on_server.index}-feed is not whole: it holds .* of 5 passages"):
        await opened(cluster, on_server.index)
    with pytest.raises(NotFoundError):
        await cluster.ask("reading", lambda es: es.indices.get_alias(name=on_server.index))
    monkeypatch.setattr(elastic, "_write", write)
    await put(cluster, on_server.index)
    (found,) = await (await opened(cluster, on_server.index)).search(["zebra lion"], k=9)
    assert len(found) == len(PASSAGES)


async def test_passages_that_are_not_ours_keep_the_alias_away(cluster: Cluster, on_server: KnowledgeConfig) -> None:
    name = f"{on_server.index}-feed"
    body = index_body(snapshot="feed", passages=len(PASSAGES), dims=0)
    await cluster.ask("creating", lambda es: es.indices.create(index=name, **body))
    await cluster.ask("writing", lambda es: es.index(index=name, id="stray", document={"id": "stray"}))
    with pytest.raises(SearchError, match=rf"{name} is not what a build makes: it holds 6 of 5 passages .*delete it"):
        await put(cluster, on_server.index)
    with pytest.raises(NotFoundError):
        await cluster.ask("reading", lambda es: es.indices.get_alias(name=on_server.index))


async def test_without_any_build_index_and_alias_are_named(cluster: Cluster, on_server: KnowledgeConfig) -> None:
    with pytest.raises(SearchError, match=f"no index {on_server.index}-feed, and no alias {on_server.index}; build it"):
        await opened(cluster, on_server.index)


async def test_another_mapping_is_a_conflict_that_names_the_field(cluster: Cluster, on_server: KnowledgeConfig) -> None:
    body = index_body(snapshot="feed", passages=len(PASSAGES), dims=0)
    body["mappings"]["properties"]["text_words"] = {"type": "keyword"}
    await cluster.ask("creating", lambda es: es.indices.create(index=f"{on_server.index}-feed", **body))
    with pytest.raises(SearchError, match=r"its field 'text_words' is another; delete it"):
        await put(cluster, on_server.index)


async def test_building_again_writes_nothing(cluster: Cluster, on_server: KnowledgeConfig) -> None:
    await put(cluster, on_server.index)

    async def version(es: AsyncElasticsearch) -> int:
        return int((await es.get(index=on_server.index, id="p#0"))["_version"])

    await put(cluster, on_server.index)
    assert await cluster.ask("reading", version) == 1


async def test_a_server_killed_between_searches_is_named_within_the_time_limit(own_server: Any) -> None:
    config = KnowledgeConfig(store="elasticsearch", url=own_server.url, index="x", timeout_s=60, retries=1)
    cluster = Cluster(config)
    await put(cluster, "x")
    store = await opened(cluster, "x")
    assert (await store.search(["zebra"], k=1))[0]
    own_server.stop()
    began = time.monotonic()
    with pytest.raises(SearchError, match=rf"{own_server.url}: search failed 2 times.*start Elasticsearch there"):
        await store.search(["zebra"], k=1)
    assert time.monotonic() - began < 2 * 60 + 5
    await store.close()


@pytest.mark.parametrize(
    ("killed", "limit_s", "said"),
    [(True, 60.0, "last: .*start Elasticsearch there"), (False, 0.5, "last: no answer within knowledge.timeout_s=0.5")],
    ids=["killed", "hangs"],
)
async def test_a_server_lost_in_the_middle_of_a_search_is_named_and_nothing_of_the_search_is_remembered(
    own_server: Any, killed: bool, limit_s: float, said: str
) -> None:
    config = KnowledgeConfig(store="elasticsearch", url=own_server.url, index="x", timeout_s=limit_s, retries=1)
    builder = Cluster(replace(config, timeout_s=60))
    await put(builder, "x")
    await builder.close()
    vocabulary = load_vocabulary()
    store = ElasticStore(Cluster(config), index="x-feed", snapshot="feed", vocabulary=vocabulary, encode=None)
    search = EvidenceSearch(store, top_k=1)
    own_server.freeze()
    under_way = asyncio.create_task(search.search([f"zebra {number}" for number in range(100)]))
    await asyncio.sleep(0.2)  # the first request is sent, and nobody answers
    assert not under_way.done()
    if killed:
        own_server.stop()
    async with asyncio.timeout(2 * limit_s + 5):
        with pytest.raises(SearchError, match=rf"{own_server.url}: search failed 2 times, {said}"):
            await under_way
    assert (search.hits, search.misses) == (0, 0)
    with pytest.raises(SearchError, match=own_server.url):  # asked anew
        await search.search(["zebra 0"])
    await store.close()


async def test_nothing_listening_is_named_with_the_remedy() -> None:
    config = KnowledgeConfig(store="elasticsearch", url="http://127.0.0.1:1", retries=1, timeout_s=5)
    with pytest.raises(SearchError, match=r"http://127.0.0.1:1: opening the index failed 2 times.*knowledge.url"):
        await open_store(config, BuiltStore(folder=Path(), snapshot="feed"))


class _Answers(http.server.BaseHTTPRequestHandler):
    """What a secured, a busy, a slow and a foreign server answer: states that the test server has not."""

    def do_GET(self) -> None:
        asked = self.server.asked = getattr(self.server, "asked", 0) + 1  # type: ignore[attr-defined]
        mode = self.server.mode  # type: ignore[attr-defined]
        if mode == "slow":
            time.sleep(1.5)
        status = {"secured": 401, "busy": 503 if asked < 3 else 200}.get(mode, 200)
        body: dict[str, Any] = {"error": {"type": "security_exception", "reason": "no"}} if status == 401 else {}
        if mode == "busy" and status == 200:
            body = {"x-feed": {"mappings": {"_meta": {"snapshot": "feed", "passages": 5}}}}
        if self.path.endswith("/_count"):
            body = {"count": 5}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if mode != "foreign":
            self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(data)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client of a slow server has gone
            self.end_headers()
            self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[KnowledgeConfig]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.mode = request.param  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    limit_s = 0.3 if request.param == "slow" else 30.0
    yield KnowledgeConfig(store="elasticsearch", url=url, index="x", timeout_s=limit_s, retries=3)
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.mark.parametrize(
    ("answering", "said"),
    [
        ("secured", r"credentials refused \(401\); .*knowledge.api_key_env"),
        ("foreign", "what answers is not Elasticsearch; correct knowledge.url"),
        ("slow", r"failed 4 times, last: no answer within knowledge.timeout_s=0.3"),
    ],
    indirect=["answering"],
)
async def test_a_server_that_cannot_be_used_is_one_line_with_host_and_remedy(
    answering: KnowledgeConfig, said: str
) -> None:
    with pytest.raises(SearchError, match=f"{answering.url}: .*{said}") as caught:
        await open_store(answering, BuiltStore(folder=Path(), snapshot="feed"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answering", ["busy"], indirect=True)
async def test_a_busy_server_is_asked_again(answering: KnowledgeConfig) -> None:
    store = await open_store(answering, BuiltStore(folder=Path(), snapshot="feed"))
    assert store.snapshot == "feed"
    await store.close()
