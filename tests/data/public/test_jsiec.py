"""JSIEC1000: the folder is the label."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_rows import kept, left_out
from replica import photo

from fundus_ray.data.public import jsiec
from fundus_ray.errors import DataError


def test_mh_is_macular_hole_here(tmp_path: Path) -> None:
    photo(tmp_path / "8.MH" / "1ffa92d5-8d87-11e8-9daf-6045cb817f5b..JPG")
    image = kept(jsiec.read(tmp_path))["8.MH/1ffa92d5-8d87-11e8-9daf-6045cb817f5b..JPG"]
    assert image.diagnoses == ("macular hole",)


def test_each_of_the_39_folders_has_its_label(tmp_path: Path) -> None:
    for folder in jsiec.CLASSES:
        photo(tmp_path / "1000images" / folder / "a..JPG")
    images = kept(jsiec.read(tmp_path))
    assert len(images) == 39
    assert [key for key, image in images.items() if image.diagnoses == ()] == ["0.0.Normal/a..JPG"]
    assert images["0.3.DR1/a..JPG"].dr_grade is None
    # Raised pressure in the skull is one cause of many.
    assert images["12.Disc swelling and elevation/a..JPG"].diagnoses == ("optic disc oedema",)
    assert images["24.Chorioretinal atrophy-coloboma/a..JPG"].diagnoses == ("chorioretinal atrophy or coloboma",)


def test_an_unknown_folder_is_named_once_and_other_files_are_passed_over(tmp_path: Path) -> None:
    photo(tmp_path / "7.ERM" / "a..JPG")
    photo(tmp_path / "40.New" / "a..JPG")
    photo(tmp_path / "40.New" / "b..JPG")
    photo(tmp_path / "__MACOSX" / "a..JPG")
    (tmp_path / "7.ERM" / "Thumbs.db").write_text("no image")
    (tmp_path / "7.ERM" / "._a..JPG").write_text("resource fork")
    items = list(jsiec.read(tmp_path))
    assert list(kept(items)) == ["7.ERM/a..JPG"]
    ((where, kind, why),) = left_out(items)
    assert (where, kind) == ("40.New", "unknown code")
    assert why.startswith("folder '40.New' is no class of the set; allowed are 0.0.Normal, ")


def test_a_folder_without_classes_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folder"):
        list(jsiec.read(tmp_path))
