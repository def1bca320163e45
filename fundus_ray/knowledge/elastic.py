"""The store in an Elasticsearch cluster: one index for each snapshot, ALIAS-SNAPSHOT, and an alias to the newest whole
one.

In: passages with their snapshot id, vectors where there is an embedding model, and a cluster. Out: a `Retriever`. An
index is filled first, counted, and only then given the alias, so the alias never points to half an index; a build that
was interrupted is completed by running it again. Processes of one run open its snapshot's index by its own name, so
that a run with other knowledge, which moves the alias, disturbs none that is under way; the alias is for people and
other programs. Older indices stay until a person deletes them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError
from numpy.typing import NDArray

from fundus_ray.config import KnowledgeConfig
from fundus_ray.knowledge.elastic_client import RETRIED, Busy, Cluster, one_line
from fundus_ray.knowledge.elastic_query import (
    STORED,
    bm25_body,
    bulk_operations,
    field_types,
    index_body,
    knn_body,
)
from fundus_ray.knowledge.embedded import Encode
from fundus_ray.knowledge.evidence import evidence
from fundus_ray.knowledge.fusion import DEPTH, SLACK, best_first, fuse
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import clauses
from fundus_ray.knowledge.retriever import SearchError
from fundus_ray.knowledge.vocabulary import Vocabulary
from fundus_ray.types import Evidence

_BULK_DOCUMENTS, _BULK_BYTES = 500, 2_000_000  # of one bulk request
_SEARCHES = 64  # in one _msearch request
_DONE = 409  # this passage is there already
_BUILD = "build it: fundus-ray knowledge build --out DIR knowledge.store=elasticsearch, with the same settings"


class ElasticStore:
    """An opened index of a cluster."""

    def __init__(
        self, cluster: Cluster, *, index: str, snapshot: str, vocabulary: Vocabulary, encode: Encode | None
    ) -> None:
        self.snapshot = snapshot
        self._cluster = cluster
        self._index = index
        self._vocabulary = vocabulary
        self._encode = encode

    @classmethod
    async def open(
        cls, cluster: Cluster, *, alias: str, snapshot: str, vocabulary: Vocabulary, encode: Encode | None
    ) -> ElasticStore:
        """Opens the snapshot's own index, wherever the alias points. Raises SearchError where there is none, or it is
        not whole."""
        name = index_name(alias, snapshot)
        try:
            found = await cluster.ask("opening the index", lambda es: es.indices.get(index=name))
            held = (await cluster.ask("counting passages", lambda es: es.count(index=name)))["count"]
        except NotFoundError:
            raise SearchError(await _missing(cluster, alias, name)) from None
        except BadRequestError as err:
            raise SearchError(f"{cluster.url}: refused ({one_line(err)}); fundus_ray needs Elasticsearch 9") from None
        (content,) = found.values()
        marks = content["mappings"].get("_meta", {})
        if (marks.get("snapshot"), marks.get("passages")) != (snapshot, held):
            raise SearchError(
                f"{cluster.url}: index {name} is not whole: it holds {held} of {marks.get('passages')} passages and is "
                f"marked {marks.get('snapshot')}; {_BUILD}"
            )
        return cls(cluster, index=name, snapshot=snapshot, vocabulary=vocabulary, encode=encode)

    async def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Evidence, ...]]:
        """As Retriever.search; the score is BM25's, or with vectors that of the fusion."""
        sought = [(number, clauses(query, vocabulary=self._vocabulary)) for number, query in enumerate(queries)]
        asked = [(number, terms) for number, terms in sought if terms] if k >= 1 else []
        if not asked:
            return [() for _ in queries]
        depth = k if self._encode is None else max(k, DEPTH)
        bodies = [bm25_body(terms, size=depth + SLACK) for _, terms in asked]
        if self._encode is not None:
            vectors = await asyncio.to_thread(self._encode, [queries[number] for number, _ in asked])
            bodies += [knn_body(vector, size=depth + SLACK) for vector in vectors]
        rankings = [best_first(hits)[:depth] for hits in await self._hits(bodies)]
        best = rankings
        if self._encode is not None:
            keys = [[key for key, _ in ranking] for ranking in rankings]
            best = [fuse(pair) for pair in zip(keys[: len(asked)], keys[len(asked) :], strict=True)]
        best = [ranking[:k] for ranking in best]
        passages = await self._passages({key for ranking in best for key, _ in ranking})
        results: list[tuple[Evidence, ...]] = [() for _ in queries]
        for (number, _), ranking in zip(asked, best, strict=True):
            results[number] = evidence(((passages[key], score) for key, score in ranking), query=queries[number])
        return results

    async def close(self) -> None:
        """Free connections."""
        await self._cluster.close()

    async def _hits(self, bodies: Sequence[dict[str, Any]]) -> list[list[tuple[str, float]]]:
        """(passage id, score) of each search's hits."""
        answers: list[Any] = []
        for start in range(0, len(bodies), _SEARCHES):
            lines = [line for body in bodies[start : start + _SEARCHES] for line in ({}, body)]

            async def request(es: AsyncElasticsearch, lines: list[dict[str, Any]] = lines) -> list[Any]:
                answer = await es.msearch(index=self._index, searches=lines)
                return [self._whole(part) for part in answer["responses"]]

            answers += await self._ask("search", request)
        return [[(hit["_id"], float(hit["_score"])) for hit in part["hits"]["hits"]] for part in answers]

    def _whole(self, part: dict[str, Any]) -> dict[str, Any]:
        """One answer of an _msearch, which hides errors in a success. Raises Busy, SearchError."""
        status = int(part.get("status", 200))
        if "error" in part and status not in RETRIED:
            reason = one_line(part["error"].get("reason", part["error"]))
            raise SearchError(f"{self._cluster.url}: search in {self._index} was refused ({status}): {reason}")
        if "error" in part or part.get("timed_out") or part["_shards"]["failed"]:
            raise Busy(f"a search was answered in part only ({status})")
        return part

    async def _passages(self, ids: set[str]) -> dict[str, Passage]:
        answer = (
            await self._ask(
                "reading passages", lambda es: es.mget(index=self._index, ids=sorted(ids), source_includes=list(STORED))
            )
            if ids
            else {"docs": []}
        )
        lost = [document["_id"] for document in answer["docs"] if not document.get("found")]
        if lost:
            raise SearchError(f"{self._cluster.url}: passage {lost[0]} went missing from index {self._index}")
        return {document["_id"]: Passage(**document["_source"]) for document in answer["docs"]}

    async def _ask(self, what: str, request: Callable[[AsyncElasticsearch], Any]) -> Any:
        try:
            return await self._cluster.ask(what, request)
        except (NotFoundError, BadRequestError) as err:
            raise SearchError(f"{self._cluster.url}: {what} in index {self._index}: {one_line(err)}") from None


async def look(config: KnowledgeConfig, *, snapshot: str) -> dict[str, Any]:
    """What the cluster at knowledge.url holds of this snapshot, without changing it: {"cluster": its id, "index": the
    name, "passages": how many are in it, None where there is no such index}.

    Raises SearchError where it does not answer, ConfigError for an address or key that cannot be used.
    """
    cluster, name = Cluster(config), index_name(config.index, snapshot)
    try:
        told = await cluster.ask("asking who it is", lambda es: es.info())
        held: int | None = None
        with suppress(NotFoundError):
            held = int((await cluster.ask("counting passages", lambda es: es.count(index=name)))["count"])
        return {"cluster": str(told.get("cluster_uuid", "")), "index": name, "passages": held}
    except (NotFoundError, BadRequestError) as err:
        raise SearchError(f"{cluster.url}: refused ({one_line(err)}); fundus_ray needs Elasticsearch 9") from None
    finally:
        await cluster.close()


def index_name(alias: str, snapshot: str) -> str:
    """The index of one snapshot."""
    return f"{alias}-{snapshot}"


async def _missing(cluster: Cluster, alias: str, name: str) -> str:
    """What to say where a snapshot has no index, with what there is instead."""
    try:
        there = sorted(await cluster.ask("reading the alias", lambda es: es.indices.get(index=alias)))
    except NotFoundError:
        return f"{cluster.url}: there is no index {name}, and no alias {alias}; {_BUILD}"
    return (
        f"{cluster.url}: there is no index {name}, which the passages, records and settings here make; {alias} stands "
        f"for {', '.join(there)}; set knowledge.* as that was built, or {_BUILD}"
    )


async def build(
    cluster: Cluster,
    passages: Sequence[Passage],
    *,
    alias: str,
    snapshot: str,
    vectors: Callable[[], NDArray[np.float32]] | None,
) -> str:
    """Fills index ALIAS-SNAPSHOT, checks that it is whole, gives it the alias; returns its name. `vectors`: one a
    passage, in their order; not asked for where the index is whole already.

    Raises SearchError, and the alias stays where it was.
    """
    name = index_name(alias, snapshot)
    try:
        if await _count(cluster, name) != len(passages):
            rows = None if vectors is None else await asyncio.to_thread(vectors)
            dims = 0 if rows is None else rows.shape[1]
            await _create(cluster, name, body=index_body(snapshot=snapshot, passages=len(passages), dims=dims))
            for chunk in _chunks(bulk_operations(passages, rows)):
                await _write(cluster, name, chunk)
        await _check_whole(cluster, name, snapshot=snapshot, passages=len(passages))
        await _switch(cluster, alias, name)
    except (NotFoundError, BadRequestError) as err:
        raise SearchError(f"{cluster.url}: building index {name}: {one_line(err)}") from None
    return name


async def _count(cluster: Cluster, name: str) -> int | None:
    """Passages in the index; None where there is none."""
    try:
        await cluster.ask("refreshing the index", lambda es: es.indices.refresh(index=name))
        return int((await cluster.ask("counting passages", lambda es: es.count(index=name)))["count"])
    except NotFoundError:
        return None


async def _create(cluster: Cluster, name: str, *, body: dict[str, Any]) -> None:
    try:
        await cluster.ask("creating the index", lambda es: es.indices.create(index=name, **body))
        return
    except BadRequestError as err:
        if err.error != "resource_already_exists_exception":
            raise
    # Begun earlier, or by another process at this moment.
    mapping = (await cluster.ask("reading the mapping", lambda es: es.indices.get_mapping(index=name)))[name][
        "mappings"
    ]
    there, wanted = field_types(mapping), field_types(body["mappings"])
    odd = sorted(field for field in {*there, *wanted} if there.get(field) != wanted.get(field))
    if odd or mapping.get("_meta", {}).get("snapshot") != body["mappings"]["_meta"]["snapshot"]:
        raise _conflict(cluster, name, f"its {f'field {odd[0]!r}' if odd else 'snapshot'} is another")


def _chunks(operations: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Operations in requests of bounded length."""
    chunk: list[Any] = []
    size = 0
    for lines in operations:
        more = len(json.dumps(lines))
        if chunk and (len(chunk) >= 2 * _BULK_DOCUMENTS or size + more > _BULK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk += lines
        size += more
    if chunk:
        yield chunk


async def _write(cluster: Cluster, name: str, lines: list[Any]) -> None:
    async def request(es: AsyncElasticsearch) -> list[dict[str, Any]]:
        answer = await es.bulk(index=name, operations=lines)
        # A retry sends the whole request again: passages that went in are then there already.
        items = [item["create"] for item in answer["items"]]
        if any(item["status"] in RETRIED for item in items):
            raise Busy("the cluster took a part of the passages only")
        return items

    for item in await cluster.ask("writing passages", request):
        if item["status"] != _DONE and "error" in item:
            reason = one_line(item["error"].get("reason", item["error"]))
            raise _conflict(cluster, name, f"it refuses passage {item['_id']}: {reason}")


async def _check_whole(cluster: Cluster, name: str, *, snapshot: str, passages: int) -> None:
    count = await _count(cluster, name)
    mapping = (await cluster.ask("reading the mapping", lambda es: es.indices.get_mapping(index=name)))[name][
        "mappings"
    ]
    marked = mapping.get("_meta", {}).get("snapshot")
    if count != passages or marked != snapshot:
        raise _conflict(cluster, name, f"it holds {count} of {passages} passages and is marked {marked}")


async def _switch(cluster: Cluster, alias: str, name: str) -> None:
    """One request moves the alias, so it always points to exactly one index."""
    try:
        old = await cluster.ask("reading the alias", lambda es: es.indices.get_alias(name=alias))
        before = [index for index in old if index != name]
    except NotFoundError:
        before = []
    actions: list[dict[str, Any]] = [{"add": {"index": name, "alias": alias}}]
    actions += [{"remove": {"index": index, "alias": alias}} for index in before]
    try:
        await cluster.ask("switching the alias", lambda es: es.indices.update_aliases(actions=actions))
    except BadRequestError as err:
        raise SearchError(
            f"{cluster.url}: {alias} cannot become an alias ({one_line(err)}); choose another knowledge.index"
        ) from None


def _conflict(cluster: Cluster, name: str, what: str) -> SearchError:
    return SearchError(
        f"{cluster.url}: index {name} is not what a build makes: {what}; delete it (DELETE {name}) and build again, or "
        "choose another knowledge.index"
    )
