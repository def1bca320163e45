"""Files of a set, in whichever of its layouts they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica import photo

from fundus_ray.data.public.layout import first_of, folders_in, image_folder, images_in
from fundus_ray.errors import DataError


def test_the_first_layout_that_exists_counts(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    assert first_of(tmp_path, "a", "b", "c", what="images") == "b"
    with pytest.raises(DataError, match=r"images not found; looked for 'a', 'd'"):
        first_of(tmp_path, "a", "d", what="images")


def test_an_image_folder_holds_images_itself(tmp_path: Path) -> None:
    photo(tmp_path / "all" / "all" / "1.jpg")
    assert image_folder(tmp_path, "all", "all/all", what="images") == tmp_path / "all" / "all"
    with pytest.raises(DataError, match=r"images not found; looked for images in 'all'"):
        image_folder(tmp_path, "all", what="images")


def test_hidden_files_and_what_archive_tools_leave_are_no_images(tmp_path: Path) -> None:
    wanted = [photo(tmp_path / name) for name in ("1.JPG", "2.png", "sub/3.jpeg")]
    for name in ("._1.JPG", "Thumbs.db", "notes.txt", "__MACOSX/4.jpg", ".cache/5.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    assert list(images_in(tmp_path)) == wanted[:2]
    assert list(images_in(tmp_path, deep=True)) == wanted
    assert folders_in(tmp_path) == [tmp_path / "sub"]
