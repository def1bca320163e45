"""A server that speaks the Elasticsearch API: a child process, or the cluster that FUNDUS_RAY_ES_URL names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fundus_ray.config import KnowledgeConfig

START_S, STOP_S = 60.0, 10.0
ANSWER_S = 120.0  # the child process scans every document and gives way to anything else that runs


class Server:
    """A child process on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        spec = find_spec("noida_db")
        assert spec is not None
        assert spec.origin is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # The program itself, not the script around it: that one would leave it behind when stopped.
        command = [str(Path(spec.origin).parent / "noida-db"), "start", "--only", "elasticsearch"]
        command += ["--elasticsearch-port", str(port), "--data-dir", str(folder)]
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self._process.poll() is None, "the server ended at its start"
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
            else:
                return
        pytest.fail(f"the server did not answer within {START_S:g} s")

    def freeze(self) -> None:
        """It keeps its connections and answers nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """At once."""
        self._process.kill()
        self._process.wait(STOP_S)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


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
