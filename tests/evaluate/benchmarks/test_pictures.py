"""Images as a model is to see them."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fundus_ray.errors import DataError
from fundus_ray.evaluate.benchmarks.gmai import read_gmai_root
from fundus_ray.evaluate.benchmarks.pictures import AskedImage, image_files, usual_px
from fundus_ray.evaluate.benchmarks.question import Benchmark, Question, TaskFile


def test_image_is_scaled_to_a_square_or_left_as_it_is_or_greyed(tmp_path: Path) -> None:
    path = tmp_path / "eye.png"
    Image.new("RGB", (60, 40), (200, 10, 10)).save(path)
    assert AskedImage(str(path), px=28).pixels().size == (28, 28)
    whole = AskedImage(str(path)).pixels()
    assert (whole.size, whole.getpixel((5, 5))) == ((60, 40), (200, 10, 10))
    grey = AskedImage(str(path), grey=True).pixels()
    assert (grey.size, grey.getcolors()) == ((60, 40), [(2400, (128, 128, 128))])
    with pytest.raises(DataError, match=r"none\.png"):
        AskedImage(str(tmp_path / "none.png"), grey=True).pixels()


def test_funbench_alone_is_scaled_where_nothing_is_asked_for() -> None:
    assert [usual_px(name) for name in ("funbench", "omnimedvqa", "gmai")] == [224, 0, 0]


def test_images_lie_below_the_root_or_in_a_folder_of_their_own(tmp_path: Path) -> None:
    question = Question("a/b.json", "k", "DDR/x.jpg", "p", "?", ("a",), ("a",), False, {})
    benchmark = Benchmark(name="funbench", files=(TaskFile("a/b.json", (question,)),))
    places = {"root": tmp_path / "F", "unpacked": tmp_path / "U"}
    assert image_files(benchmark, images=None, **places) == {"DDR/x.jpg": tmp_path / "F" / "DDR" / "x.jpg"}
    elsewhere = image_files(benchmark, images=tmp_path / "I", **places)
    assert elsewhere == {"DDR/x.jpg": tmp_path / "I" / "DDR" / "x.jpg"}


def cell(colour: str) -> str:
    content = BytesIO()
    Image.new("RGB", (30, 30), colour).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def write_table(root: Path, rows: Sequence[Sequence[str]]) -> None:
    head = ["index", "image", "question", "A", "B", "answer", "category"]
    head += ["clinical VQA task", "department", "perceptual granularity", "modality", "original task"]
    root.mkdir(exist_ok=True)
    with (root / "VAL.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([head, *rows])


def test_an_image_that_changed_under_one_name_is_unpacked_anew(tmp_path: Path) -> None:
    root = tmp_path / "G"
    for colour in ("red", "blue", "red"):
        about = ["c", "Disease Diagnosis", "Ophthalmology", "Image Level", "Fundus Photography", "x"]
        write_table(root, [["7", cell(colour), "?", "a", "b", "A", *about]])
        found = image_files(read_gmai_root(root), root=root, images=None, unpacked=tmp_path / "U")
        shown = AskedImage(str(found["VAL.tsv#7"])).pixels().getpixel((0, 0))
        assert shown == {"red": (255, 0, 0), "blue": (0, 0, 255)}[colour]


def test_images_of_a_table_are_unpacked_once_and_those_that_are_not_asked_about_never(tmp_path: Path) -> None:
    about = ["c", "Disease Diagnosis", "Ophthalmology", "Image Level"]
    rows = [
        ["7", cell("red"), "?", "a", "b", "A", *about, "Fundus Photography", "x"],
        ["8", "7", "?", "a", "b", "B", *about, "Fundus Photography", "x"],
        ["9/1", cell("blue"), "?", "a", "b", "B", *about, "Fundus Photography", "x"],
        ["10", cell("green"), "?", "a", "b", "B", *about, "MRI", "x"],
    ]
    root, unpacked = tmp_path / "G", tmp_path / "U"
    write_table(root, rows)
    found = image_files(read_gmai_root(root), root=root, images=None, unpacked=unpacked)
    assert sorted(found) == ["VAL.tsv#7", "VAL.tsv#9/1"]
    assert AskedImage(str(found["VAL.tsv#9/1"])).pixels().getpixel((0, 0)) == (0, 0, 255)
    written = {path: path.stat().st_mtime_ns for path in unpacked.rglob("*") if path.is_file()}
    assert len(written) == 2
    image_files(read_gmai_root(root), root=root, images=None, unpacked=unpacked)
    assert {path: path.stat().st_mtime_ns for path in written} == written
