"""What a user reads when a cluster does not let them in. The texts are those that Ray 2.60 raised."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fundus_ray.connecting import explain_connection, keep_token_private, token_place

INVALID = "RPC error: InvalidAuthToken: Authentication token is missing or incorrect. Ensure that the token"
SESSION = (
    "Session name session_2026-11-26_20-59-20_439709_12931 does not match persisted value "
    "b'session_2026-11-26_20-59-11_156376_12825'. Perhaps there was an error connecting to the GCS storage backend."
)

RUNNING = (
    "Ray is trying to start at 192.0.2.2:7111, but is already running at 192.0.2.2:7111. Please specify a different"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def token_in(home: Path) -> Path:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("ab" * 32)
    return path


def chained(text: str) -> ConnectionError:
    """As ray.init raises it: the reason is the cause of a general error."""
    try:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from RuntimeError(text)
    except ConnectionError as err:
        return err


def test_a_wrong_token_names_the_place_that_it_came_from_and_a_leftover_head(home: Path) -> None:
    path = token_in(home)
    said = explain_connection(chained(INVALID))
    assert f"that of {path} on {socket.gethostname()} is another one" in said
    assert "copy the head's token to ~/.ray/auth_token here" in said
    assert "`ray stop`" in said
    assert "\n" not in said


def test_a_missing_token_and_a_mode_that_sends_none_are_told_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = RuntimeError("Authentication required: Unauthorized: Missing authentication token")
    assert f"there is none on {socket.gethostname()}" in explain_connection(missing)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    token_in(home)
    assert "as RAY_AUTH_MODE=disabled" in explain_connection(missing)


def test_a_token_file_that_cannot_be_read_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "gone"))
    err = RuntimeError(f"RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: {home}/gone.")
    assert f"RAY_AUTH_TOKEN_PATH={home}/gone names no readable file" in explain_connection(err)


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (ConnectionError(RUNNING), "another head answers at this address; where a head was left over"),
        (AssertionError(SESSION), "another head answers at this address; where a head was left over from before, stop"),
        (chained("Timed out while waiting for GCS to become available"), "no Ray cluster answers (Failed to connect"),
        (RuntimeError("status code 500: No available agent to submit job, please try again later."), "52365"),
        (RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.59.0"), "install the same Python and"),
        (
            ConnectionError("Could not find any running Ray instance. Please specify"),
            "start one with `ray start --head`",
        ),
        (RuntimeError("something\n  new"), "something new"),
    ],
)
def test_other_causes_have_their_remedy(err: BaseException, said: str) -> None:
    assert said in explain_connection(err)


def test_the_token_comes_from_the_place_that_ray_prefers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_place() == ""
    path = token_in(home)
    assert token_place() == str(path)
    other = home / "other"
    other.write_text("cd" * 32)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert token_place() == str(other)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ef" * 32)
    assert token_place() == "the variable RAY_AUTH_TOKEN"


def test_a_token_that_others_could_read_is_closed_to_them(home: Path) -> None:
    path = token_in(home)
    path.chmod(0o644)
    keep_token_private()
    assert path.stat().st_mode & 0o777 == 0o600
