"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fundus_ray.file_hashes import sha256_of_file


def test_hash_of_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 + b"end"  # 1 MiB and 3 bytes
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
