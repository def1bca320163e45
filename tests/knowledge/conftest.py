"""A server that speaks the Elasticsearch API: a child process, or the cluster that FUNDUS_RAY_ES_URL names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from search_server import Server

from fundus_ray.config import KnowledgeConfig

ANSWER_S = 120.0  # the child process scans every document and gives way to anything else that runs


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of all tests."""
    given = os.environ.get("FUNDUS_RAY_ES_URL", "")
    if given:
        yield given
        return
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def on_server(server_url: str) -> KnowledgeConfig:
    """Settings with an alias that no other test has. Real clusters: FUNDUS_RAY_ES_KEY_ENV, FUNDUS_RAY_ES_CA_CERTS."""
    return KnowledgeConfig(
        store="elasticsearch",
        url=server_url,
        index=f"fundus-ray-test-{uuid.uuid4().hex[:12]}",
        api_key_env=os.environ.get("FUNDUS_RAY_ES_KEY_ENV", ""),
        ca_certs=os.environ.get("FUNDUS_RAY_ES_CA_CERTS", ""),
        timeout_s=ANSWER_S,
    )
