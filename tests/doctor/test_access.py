"""Tokens of clusters that others can reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.doctor.access import token
from fundus_ray.doctor.findings import Finding, Verdict


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home without a token, and no variable set."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    return tmp_path


def only(names: list[str]) -> Finding:
    (row,) = token(names)
    assert row.remedy or row.verdict is Verdict.OK
    return row


def test_a_cluster_on_loopback_needs_none(home: Path) -> None:
    assert only(["127.0.0.1/aabbcc", "127.0.0.1/ddeeff"]).verdict is Verdict.OK


def test_an_open_cluster_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = only(["127.0.0.1", "10.0.0.2"])
    assert (row.verdict, "RAY_AUTH_MODE is not set: whoever" in row.found) == (Verdict.WARN, True)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE is disabled" in only(["10.0.0.2"]).found


def test_token_mode_without_a_token_cannot_work(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert only(["10.0.0.2"]).verdict is Verdict.FAIL


def test_a_token_file_counts_and_is_to_be_closed_to_others_and_never_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    file = home / ".ray" / "auth_token"
    file.write_text("very-secret")
    file.chmod(0o644)
    row = only(["10.0.0.2"])
    assert (row.verdict, row.remedy) == (Verdict.WARN, f"chmod 600 {file}")
    file.chmod(0o600)
    row = only(["10.0.0.2"])
    assert row == Finding("token", "this machine", f"that of {file}")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "very-secret")
    assert "very-secret" not in str(only(["10.0.0.2"]))
