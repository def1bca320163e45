"""What Elasticsearch is told, checked as data."""

from __future__ import annotations

import numpy as np

from fundus_ray.knowledge.elastic_query import bm25_body, bulk_operations, field_types, index_body, knn_body
from fundus_ray.knowledge.passage import Passage
from fundus_ray.knowledge.query import Clause
from fundus_ray.knowledge.retriever import MOST_PASSAGES

PASSAGE = Passage("a#0", "Drusen", "OCT", "Under the RPE.", "me", "http://x", "CC0")


def test_clauses_of_one_field_and_weight_share_a_sum_with_that_weight() -> None:
    terms = [
        Clause("text_words", ("red",), 1.0),
        Clause("text_words", ("dots",), 1.0),
        Clause("text_words", ("cotton", "wool"), 0.5),
        Clause("text_words", ("cws",), 0.5),
    ]
    body = bm25_body(terms, size=7)
    assert body["query"]["bool"]["should"] == [
        {"bool": {"boost": 1.0, "should": [{"match": {"text_words": "red dots"}}]}},
        {
            "bool": {
                "boost": 0.5,
                "should": [{"match": {"text_words": "cws"}}, {"match_phrase": {"text_words": "cotton wool"}}],
            }
        },
    ]
    assert (body["size"], body["_source"]) == (7, False)
    assert body["sort"] == [{"_score": "desc"}, {"id": "asc"}]


def test_every_document_is_created_under_its_passages_id_never_overwritten() -> None:
    ((action, document),) = bulk_operations([PASSAGE], [np.array([0.6, 0.8], np.float32)])
    assert action == {"create": {"_id": "a#0"}}
    assert document["heading_words"] == "drusen oct"
    assert document["sha256"] == PASSAGE.sha256
    assert document["vector"] == [np.float32(0.6).item(), np.float32(0.8).item()]


def test_the_mapping_has_a_place_for_every_field_of_a_document() -> None:
    body = index_body(snapshot="feed", passages=1, dims=2)
    ((_, document),) = bulk_operations([PASSAGE], [np.zeros(2, np.float32)])
    assert set(document) == set(body["mappings"]["properties"])
    assert body["mappings"]["dynamic"] == "strict"
    assert body["mappings"]["_meta"] == {"snapshot": "feed", "passages": 1}
    assert field_types(body["mappings"])["vector"] == ("dense_vector", 2)
    assert "vector" not in index_body(snapshot="feed", passages=1, dims=0)["mappings"]["properties"]


def test_all_statistics_are_those_of_one_shard() -> None:
    assert index_body(snapshot="feed", passages=1, dims=0)["settings"]["number_of_shards"] == 1


def test_nearest_vectors_are_sought_among_as_many_as_are_wanted() -> None:
    knn = knn_body(np.array([1, 0], np.float32), size=9)["knn"]
    assert (knn["k"], knn["num_candidates"], knn["query_vector"]) == (9, 9, [1.0, 0.0])


def test_no_search_asks_for_more_hits_than_an_index_gives() -> None:
    assert bm25_body([Clause("text_words", ("red",), 1.0)], size=MOST_PASSAGES + 16)["size"] == 10_000
    body = knn_body(np.array([1, 0], np.float32), size=MOST_PASSAGES + 16)
    assert (body["size"], body["knn"]["k"], body["knn"]["num_candidates"]) == (10_000, 10_000, 10_000)
