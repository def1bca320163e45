"""Checkpoints that training leaves: how one is written, and how it is kept so that it is made once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from fundus_ray.data.cache import content_key
from fundus_ray.policy.load import PolicyModel

TRAINED = "v0"  # the folder's part that holds the checkpoint; beside it lies what it was made of


def save_policy(policy: PolicyModel, folder: Path) -> None:
    """A checkpoint that transformers and vLLM load."""
    policy.network.save_pretrained(folder)
    policy.processor.save_pretrained(folder)


def fingerprint(folder: Path) -> str:
    """Changes with the files of a checkpoint, by their names, sizes and times; fixed where there is no such folder."""
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    seen = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
    return content_key(folder=str(folder.resolve()) if files else str(folder), files=",".join(seen))


def trained_once(folder: Path, train: Callable[[Path], None]) -> Path:
    """`folder`/v0, made by `train(part)` unless it is there; `train` writes part/v0. A crash leaves nothing behind."""
    if not (folder / TRAINED).is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            part = Path(scratch) / "part"
            train(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
    return folder / TRAINED
