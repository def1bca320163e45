"""Folders and files on a local disk, on NFS or in an object store, by one kind of name.

In: a path, or an address such as s3://bucket/folder (its own package, here s3fs, must be installed). Out: bytes, open
files and sizes; what goes wrong is a DataError that names the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from fundus_ray.errors import DataError


def is_address(path: str | Path) -> bool:
    """Whether it is an address with a protocol, not a path of this machine."""
    return "://" in str(path)


def read_bytes(path: str | Path, *, what: str = "image") -> bytes:
    """A file's content. Raises DataError, naming it as `what`, where it is missing or cannot be read."""
    with _said(f"{what} {path}"):
        if not is_address(path):
            return Path(path).read_bytes()
        with fsspec.open(str(path), "rb") as file:
            content: bytes = file.read()
            return content


@dataclass(frozen=True, slots=True)
class Place:
    """A folder by the name that a user gave it."""

    name: str
    fs: Any  # an fsspec file system
    path: str  # of the folder in it

    def read(self, file: str) -> bytes:
        """Raises DataError where it is missing or cannot be read."""
        with _said(f"{self.name}/{file}"):
            content: bytes = self.fs.cat_file(f"{self.path}/{file}")
            return content

    def write(self, file: str, content: bytes) -> None:
        """In one step, so that a crash leaves no half of it. Raises DataError where it cannot be written."""
        with _said(f"{self.name}/{file}", missing="cannot be written there"):
            self.fs.makedirs(self.path, exist_ok=True)
            part = f"{self.path}/.{file}.part"
            self.fs.pipe_file(part, content)
            self.fs.mv(part, f"{self.path}/{file}")

    def folder(self, name: str) -> Place:
        """A folder in this one."""
        return Place(f"{self.name}/{name}", self.fs, f"{self.path}/{name}")

    def names(self) -> list[str]:
        """Of the files and folders here; none where the folder does not exist. What other machines write is seen."""
        with _said(self.name):
            self.fs.invalidate_cache()
            if not self.fs.exists(self.path):
                return []
            return sorted(str(path).rstrip("/").rpartition("/")[2] for path in self.fs.ls(self.path, detail=False))

    def put(self, source: Path, file: str) -> None:
        """Copy a file of this machine here. Raises DataError where it does not arrive whole."""
        with _said(f"{self.name}/{file}", missing="cannot be written there"):
            target = f"{self.path}/{file}"
            self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(source), target)
            self.fs.invalidate_cache()
            if int(self.fs.size(target)) != source.stat().st_size:
                raise OSError("it arrived with another size")

    def get(self, file: str, target: Path) -> None:
        """Copy a file to this machine. Raises DataError where it is missing or cannot be read."""
        with _said(f"{self.name}/{file}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(f"{self.path}/{file}", str(target))

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it, if it is there. Raises DataError where it cannot be removed."""
        with _said(f"{self.name}/{name}"):
            if self.fs.exists(f"{self.path}/{name}"):
                self.fs.rm(f"{self.path}/{name}", recursive=True)

    def open(self, file: str) -> Any:
        """The file, open for reading at any position. Raises DataError where it is missing."""
        with _said(f"{self.name}/{file}"):
            return self.fs.open(f"{self.path}/{file}", "rb")

    def size(self, file: str) -> int | None:
        """[bytes]; None where it is missing."""
        with _said(f"{self.name}/{file}"):
            found = f"{self.path}/{file}"
            return int(self.fs.size(found)) if self.fs.exists(found) else None


def place(name: str | Path) -> Place:
    """The folder of that name, which need not exist. Raises DataError for a protocol that is not known or installed."""
    with _said(str(name)):
        fs, path = fsspec.core.url_to_fs(str(name))
        return Place(str(name).rstrip("/"), fs, path.rstrip("/"))


@contextmanager
def _said(what: str, *, missing: str = "does not exist") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{what} {missing}") from None
    except ImportError as err:
        raise DataError(f"{what}: {' '.join(str(err).split())}") from None
    except (OSError, ValueError) as err:
        raise DataError(f"{what} cannot be read or written: {' '.join(str(err).split())}") from None
