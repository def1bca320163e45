"""Files of this machine and of an object store are read and written by the same calls."""

from __future__ import annotations

import io
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from fundus_ray.data.images import image_ref, read_pixels
from fundus_ray.data.places import place, read_bytes
from fundus_ray.errors import DataError


@pytest.fixture(params=["folder", "memory://places/sub"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    fsspec.filesystem("memory").store.clear()
    return str(tmp_path / "sub") if request.param == "folder" else str(request.param)


def test_what_is_written_is_read_and_replaced(name: str) -> None:
    folder = place(name)
    assert folder.size("a.bin") is None
    for content in (b"one", b"other"):
        folder.write("a.bin", content)
        assert (folder.read("a.bin"), folder.size("a.bin")) == (content, len(content))
        assert read_bytes(f"{name}/a.bin") == content
    assert [Path(path).name for path in folder.fs.ls(folder.path, detail=False)] == ["a.bin"]


def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(DataError, match=r"sub/gone\.bin does not exist"):
        place(name).read("gone.bin")
    with pytest.raises(DataError, match=r"image .*sub/gone\.png does not exist"):
        read_bytes(f"{name}/gone.png")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/sub/a\.bin cannot be"):
        place(tmp_path / "file" / "sub").write("a.bin", b"")


def test_an_image_may_lie_at_an_address(name: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(content, "PNG")
    place(name).write("eye.png", content.getvalue())
    ref = image_ref(f"{name}/eye.png")
    assert (ref.width_px, ref.height_px) == (8, 6)
    assert read_pixels(ref).getpixel((0, 0)) == (255, 0, 0)


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(DataError, match="nosuch"):
        read_bytes("nosuch://bucket/eye.png")
