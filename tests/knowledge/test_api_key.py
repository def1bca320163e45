"""The search cluster's API key: where it may come from, and that it is never written down."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fundus_ray.cli import main
from fundus_ray.config import KnowledgeConfig, load
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.elastic_client import api_key, one_line

SECRET = "cGxhbnRlZC1zZWNyZXQtNGYxYQ=="


class _Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and repeats the credentials that it was given."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append(self.headers.get("Authorization"))
        reason = {"type": "security_exception", "reason": f"cannot take {self.headers.get('Authorization')}"}
        data = json.dumps({"error": {**reason, "root_cause": [reason]}, "status": server.status}).encode()
        self.send_response(server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST = do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def written_in(folder: Path) -> str:
    """All that stands in the folder's files and their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return "\n".join(f"{path} {path.read_bytes().decode('utf-8', errors='replace')}" for path in files)


@pytest.mark.parametrize("status", [401, 403, 400, 500])
@pytest.mark.parametrize("place", ["api_key_env", "api_key_file"])
def test_a_refused_key_ends_the_run_before_it_begins_and_is_nowhere_in_files_nor_on_the_screen(
    echo: Any,
    status: int,
    place: str,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PLANTED", SECRET)
    echo.status = status
    named = {"api_key_env": "PLANTED", "api_key_file": str(key_file)}[place]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train_samples: 2, eval_samples: 1}")
    where = ["knowledge.store=elasticsearch", f"knowledge.url=http://127.0.0.1:{echo.server_port}"]
    settings = [*where, f"knowledge.{place}={named}", f"run.dir={tmp_path}/runs", "knowledge.retries=0"]
    assert main(["--debug", "train", "--config", str(recipe), *settings]) == 2  # by the doctor
    said = capfd.readouterr()
    assert echo.seen[0] == f"ApiKey {SECRET}"  # it was used
    assert SECRET not in said.out + said.err
    assert f"http://127.0.0.1:{echo.server_port}" in said.err
    key_file.unlink()
    assert SECRET not in written_in(tmp_path)


def test_an_accepted_key_is_not_written_down_either(
    server_url: str, key_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], on_server: KnowledgeConfig
) -> None:
    if on_server.api_key_env:
        pytest.skip("this cluster has a key of its own")
    where = ["knowledge.store=elasticsearch", f"knowledge.url={server_url}", f"knowledge.index={on_server.index}"]
    settings = [*where, f"knowledge.api_key_file={key_file}", "knowledge.share=0.02", "knowledge.timeout_s=120"]
    assert main(["knowledge", "build", "--out", str(tmp_path / "out"), *settings]) == 0
    said = capfd.readouterr()
    assert "snapshot" in said.out
    assert SECRET not in said.out + said.err


def test_the_key_comes_from_its_file(key_file: Path) -> None:
    assert api_key(KnowledgeConfig(api_key_file=str(key_file))) == SECRET
    assert one_line(f"refused {SECRET}\n by the cluster") == "refused *** by the cluster"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (SECRET, 0o644, r"is open to other users \(mode 644\); chmod 600"),
        (SECRET, 0o620, r"is open to other users \(mode 620\)"),
        ("", 0o600, "must hold the API key and nothing else"),
        (f"{SECRET} and more", 0o600, "must hold the API key and nothing else"),
    ],
)
def test_a_key_file_that_cannot_be_trusted_is_refused_without_its_content(
    key_file: Path, content: str, mode: int, said: str
) -> None:
    key_file.write_text(content)
    key_file.chmod(mode)
    with pytest.raises(ConfigError, match=said) as refused:
        api_key(KnowledgeConfig(api_key_file=str(key_file)))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["knowledge.url=http://elastic:hunter2@search:9200"], "knowledge.url holds a user or password"),
        (["knowledge.url=http://hunter2@search:9200"], "knowledge.url holds a user or password"),
        (["knowledge.api_key_file=/no/such/hunter1"], "/no/such/hunter1 is not a file"),
    ],
)
def test_a_configuration_with_a_secret_or_without_its_file_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load(None, ["knowledge.store=elasticsearch", *settings])
    assert "hunter2" not in str(refused.value)


def test_a_key_has_one_place(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", SECRET)
    both = ["knowledge.api_key_env=PLANTED", f"knowledge.api_key_file={key_file}"]
    with pytest.raises(ConfigError, match="both name the API key"):
        load(None, ["knowledge.store=elasticsearch", *both])
