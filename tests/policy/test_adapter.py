"""What reaches an engine's folder is what was published, or an error says what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.errors import DeliveryError
from fundus_ray.policy.adapter import COMPLETE_FILE, CONFIG_FILE, WEIGHTS_FILE, read_files, sha256_of, write_files
from fundus_ray.types import PolicyVersion, PublishedAdapter

FILES = {WEIGHTS_FILE: bytes(range(200)), CONFIG_FILE: b"{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    version = PolicyVersion(step=3, sha256=sha256_of(FILES))
    adapter = PublishedAdapter(version=version, files=FILES, probe_token_ids=(1, 2), probe_logprobs=(-1.0,))
    write_files(adapter, tmp_path / "v3")
    return tmp_path / "v3"


def test_files_come_back_as_they_were_published(folder: Path) -> None:
    assert read_files(folder) == FILES


def test_one_byte_that_differs_is_an_error_with_both_hashes(folder: Path) -> None:
    changed = bytearray(FILES[WEIGHTS_FILE])
    changed[100] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(changed)
    found = sha256_of({**FILES, WEIGHTS_FILE: bytes(changed)})
    with pytest.raises(DeliveryError, match=f"hash {found[:12]} differs from the published {sha256_of(FILES)[:12]}"):
        read_files(folder)


def test_a_file_of_the_same_bytes_under_another_name_has_another_hash() -> None:
    assert sha256_of({"a": b"12", "b": b""}) != sha256_of({"a": b"1", "b": b"2"})
    assert sha256_of({"a": b"1", "b": b"2"}) != sha256_of({"a": b"2", "b": b"1"})
    assert sha256_of({"a": b"1", "b": b"2"}) == sha256_of({"b": b"2", "a": b"1"})


def test_an_adapter_without_its_marker_was_not_written_to_its_end(folder: Path) -> None:
    (folder / COMPLETE_FILE).unlink()
    with pytest.raises(DeliveryError, match=f"no {COMPLETE_FILE} marker; the adapter was not written to its end"):
        read_files(folder)
