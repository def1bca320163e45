"""Benchmark images among training images: caught by key, by patient and by fingerprint, near misses left alone."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_ray.data.leaks import benchmark
from fundus_ray.data.leaks.benchmark import BenchmarkImages, benchmark_images, read_benchmarks, write_benchmarks
from fundus_ray.data.leaks.duplicates import near_copies, same_patients
from fundus_ray.data.leaks.fingerprint import Words, fingerprint
from fundus_ray.data.leaks.guard import LeakGuard, Picture, all_leaks, leak_summary, refuse_leaks
from fundus_ray.data.leaks.keys import benchmark_pictures
from fundus_ray.data.rendered.phantoms import render
from fundus_ray.errors import DataError


def eye(seed: int) -> Image.Image:
    return Image.fromarray(render(seed, image_px=224).pixels)


def mark(image: Image.Image) -> Words:
    found = fingerprint(image)
    assert found is not None
    return found


def picture(
    owner: str, path: str, *, source: str = "mine", patient: str = "", shown: Image.Image | None = None
) -> Picture:
    return Picture(owner, source, path, patient or owner, None if shown is None else mark(shown))


def keys_only(*keys: str) -> BenchmarkImages:
    return BenchmarkImages("funbench", keys, tuple(None for _ in keys))


@pytest.fixture
def hashed() -> LeakGuard:
    """Guards the phantoms 0 to 3, called bench/0.png and so on."""
    seeds = range(4)
    return LeakGuard([BenchmarkImages("b", tuple(f"bench/{s}.png" for s in seeds), tuple(mark(eye(s)) for s in seeds))])


def test_a_planted_copy_is_caught_by_its_fingerprint_and_other_eyes_are_not(hashed: LeakGuard) -> None:
    copy = eye(2).resize((150, 150)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pictures = [picture(f"p{seed}", f"/x/{seed}.png", shown=eye(seed)) for seed in range(4, 24)]
    leaks = hashed.leaks([*pictures, picture("copy", "/x/copy.png", shown=copy)])
    assert list(leaks) == [20]
    leak = leaks[20]
    assert (leak.owner, leak.benchmark, leak.key, leak.why) == ("copy", "b", "bench/2.png", "fingerprint")
    assert leak.orientation == "mirrored"
    assert leak.distance is not None
    assert "mirrored" in leak.text()


def test_an_image_is_caught_by_its_key_without_any_pixels() -> None:
    guard = LeakGuard([keys_only("TOP/TOP/001805_00.jpg")])
    leaks = guard.leaks(
        [picture("a", "/d/001805_00.jpg", source="top"), picture("b", "/d/001806_00.jpg", source="top")]
    )
    assert {at: leak.why for at, leak in leaks.items()} == {0: "key"}


def test_another_image_of_a_benchmark_patient_is_caught_by_the_prefix() -> None:
    guard = LeakGuard([keys_only("RETOUCH/oct_imgs/RETOUCH-TrainingSet-Spectralis_TRAIN034_048.png")])
    leaks = guard.leaks([picture("a", "/d/RETOUCH-TrainingSet-Spectralis_TRAIN034_049.png", source="retouch")])
    assert leaks[0].why == "patient"


def test_a_key_says_more_than_a_fingerprint(hashed: LeakGuard) -> None:
    guard = LeakGuard([BenchmarkImages("b", ("TOP/TOP/001805_00.jpg",), (mark(eye(1)),))])
    leaks = guard.leaks([picture("a", "/d/001805_00.jpg", source="top", shown=eye(1))])
    assert leaks[0].why == "key"


def test_other_images_of_a_patient_with_a_leak_go_too(hashed: LeakGuard) -> None:
    pictures = [
        picture("other eye", "/x/a.png", patient="7", shown=eye(30)),
        picture("copy", "/x/b.png", patient="7", shown=eye(3)),
        picture("same number elsewhere", "/y/a.png", source="theirs", patient="7", shown=eye(31)),
    ]
    leaks = all_leaks(pictures, hashed)
    assert {at: leak.why for at, leak in leaks.items()} == {0: "patient", 1: "fingerprint"}
    assert leaks[0].key == "bench/3.png"
    assert leak_summary([leaks[1], leaks[0], leaks[0]]) == [
        {"source": "mine", "benchmark": "b", "why": "patient", "images": 2},
        {"source": "mine", "benchmark": "b", "why": "fingerprint", "images": 1},
    ]


def test_the_patients_images_in_a_set_that_shares_names_go_too(hashed: LeakGuard) -> None:
    pictures = [
        picture("copy", "/x/10_left.jpg", source="retinal_lesions", patient="10", shown=eye(3)),
        picture("other eye", "/y/10_right.jpeg", source="eyepacs", patient="10", shown=eye(30)),
        picture("another", "/y/11_right.jpeg", source="eyepacs", patient="11", shown=eye(31)),
    ]
    leaks = all_leaks(pictures, hashed)
    assert {at: leak.why for at, leak in leaks.items()} == {0: "fingerprint", 1: "patient"}


def test_a_copy_of_an_image_that_a_key_names_goes_where_the_list_holds_no_images() -> None:
    pictures = [
        picture("copy", "/x/a.png", shown=eye(5).resize((150, 150))),
        picture("named", "/d/001805_00.jpg", source="top", shown=eye(5)),
        picture("another", "/x/b.png", shown=eye(6)),
    ]
    leaks = all_leaks(pictures, LeakGuard([keys_only("TOP/TOP/001805_00.jpg")]))
    assert {at: (leak.why, leak.key) for at, leak in leaks.items()} == {
        0: ("fingerprint", "TOP/TOP/001805_00.jpg"),
        1: ("key", "TOP/TOP/001805_00.jpg"),
    }


def test_a_known_leak_is_refused_by_sample_benchmark_and_key() -> None:
    guard = LeakGuard([keys_only("TOP/TOP/001805_00.jpg", "TOP/TOP/000007_01.jpg")])
    bad = [picture(f"q{i}", "/d/001805_00.jpg", source="top") for i in range(3)]
    said = r"known leak: training sample q0 \(top, image /d/001805_00.jpg\): funbench tests on TOP/TOP/001805_00.jpg "
    with pytest.raises(DataError, match=said + r"\(by its key\); 1 image in all; do so"):
        refuse_leaks(iter(bad), guard=guard, remedy="do so")
    refuse_leaks(iter([picture("fine", "/d/000001_00.jpg", source="top")]), guard=guard, remedy="do so")


def test_a_list_of_benchmark_images_comes_back_as_it_was_written(tmp_path: Path) -> None:
    eye(0).save(tmp_path / "0.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "flat.png")
    images = [("b/0.png", tmp_path / "0.png"), ("b/gone.png", tmp_path / "gone.png"), ("b/no.png", None)]
    listed, unread = benchmark_images("b", [*images, ("b/flat.png", tmp_path / "flat.png")])
    assert unread == 2
    write_benchmarks(tmp_path / "lists" / "b.parquet", [listed, keys_only("k/1.png")])
    first, second = read_benchmarks(tmp_path / "lists" / "b.parquet")
    assert (first.name, first.keys) == ("b", ("b/0.png", "b/gone.png", "b/no.png", "b/flat.png"))
    assert first.prints[0] is not None
    assert np.array_equal(first.prints[0], mark(eye(0)))
    assert first.prints[1:] == (None, None, None)
    assert (second.name, second.keys) == ("funbench", ("k/1.png",))


def test_a_list_with_other_fingerprints_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_benchmarks(tmp_path / "b.parquet", [keys_only("k/1.png")])
    monkeypatch.setattr(benchmark, "FINGERPRINT_VERSION", 99)
    with pytest.raises(DataError, match=r"b\.parquet holds fingerprints of version \d+, this package makes 99"):
        read_benchmarks(tmp_path / "b.parquet")


def test_another_file_is_no_list_of_benchmark_images(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataError, match=r"x\.parquet is not a list of benchmark images"):
        read_benchmarks(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"list of benchmark images .*y\.parquet does not exist"):
        read_benchmarks(tmp_path / "y.parquet")


def test_copies_in_two_sets_keep_their_patients_together() -> None:
    pictures = [
        picture("k1", "/k/1.png", source="kaggle", patient="1", shown=eye(1)),
        picture("k2", "/k/2.png", source="kaggle", patient="2", shown=eye(2)),
        picture("k1 again", "/k/1b.png", source="kaggle", patient="1", shown=eye(1)),
        picture("l9", "/l/9.png", source="lesions", patient="9", shown=eye(2).resize((100, 100))),
        picture("flat", "/l/flat.png", source="lesions", patient="8"),
    ]
    copies = list(near_copies(pictures))
    assert [(one.earlier.owner, one.later.owner) for one in copies] == [("k2", "l9")]
    assert same_patients(copies) == [(("kaggle", "2"), ("lesions", "9"))]


def keys_in(path: Path, *, keep: Callable[[str], bool] = lambda _: True) -> set[str]:
    return {key for key, _ in benchmark_pictures(path, root=None, keep=keep)}


@pytest.mark.parametrize("odd", ["DDR/4.jpg 2", "DDR/4", "The images are those of DDR.", '{"DDR/4.jpg": 1}'])
def test_a_line_of_a_text_file_that_names_no_image_is_told(tmp_path: Path, odd: str) -> None:
    (tmp_path / "keys.txt").write_text(f"DDR/On-site Set/2.JPG\nVAL.tsv#17\n\n{odd}\n")
    for path in (tmp_path / "keys.txt", tmp_path):
        with pytest.raises(DataError, match=rf"keys\.txt:4: '{re.escape(odd)}' names no image; a key a line"):
            keys_in(path)


def test_a_text_beside_the_task_files_is_no_list_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("DDR/2.jpg\n")
    (tmp_path / "README.txt").write_text("FunBench, test images.\nSee its page.\n")
    assert keys_in(tmp_path) == {"DDR/2.jpg"}
    with pytest.raises(DataError, match=r"README\.txt:1: 'FunBench, test images\.' names no image"):
        keys_in(tmp_path / "README.txt")


def test_keys_are_read_out_of_the_benchmarks_own_files(tmp_path: Path) -> None:
    (tmp_path / "L1").mkdir()
    (tmp_path / "L1" / "a.json").write_text('{"info": {}, "data": {"TOP/TOP/1.jpg": {}, "DDR/2.jpg": {}}}')
    (tmp_path / "b.json").write_text('[{"image_path": "Images/x/3.png", "question": "?"}]')
    (tmp_path / "c.txt").write_text("DDR/2.jpg\n\nmine/4.png\n")
    (tmp_path / "preprocess_info.json").write_text('{"TOP": [1, 2]}')
    assert keys_in(tmp_path) == {"TOP/TOP/1.jpg", "DDR/2.jpg", "Images/x/3.png", "mine/4.png"}
    with pytest.raises(DataError, match=r"preprocess_info\.json is neither a FunBench task file"):
        keys_in(tmp_path / "preprocess_info.json")
    with pytest.raises(DataError, match=r"rows\.jsonl: a \.json or \.tsv file of the benchmark, or a \.txt"):
        keys_in(tmp_path / "rows.jsonl")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no image keys"):
        keys_in(tmp_path / "none")


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_images_inside_a_table_are_known_by_their_fingerprints(tmp_path: Path) -> None:
    rows = [
        ("1", base64.b64encode(png(eye(1))).decode(), "Fundus Photography"),
        ("2", "1", "Fundus Photography"),  # asks again about the image of row 1
        ("3", base64.b64encode(png(eye(2))).decode(), "CT"),
        ("4", "no base64 " * 10, "OCT"),
    ]
    lines = ["index\timage\tquestion\tanswer\tModality", *("\t".join((i, x, "?", "A", m)) for i, x, m in rows)]
    (tmp_path / "VAL.tsv").write_text("\n".join(lines))
    pictures = benchmark_pictures(tmp_path / "VAL.tsv", root=None, keep=lambda modality: modality != "CT")
    images, unread = benchmark_images("gmai", pictures)
    assert (images.keys, unread) == (("VAL.tsv#1", "VAL.tsv#4"), 1)
    same = picture("mine", "/m/1.png", source="mine", patient="1", shown=eye(1).resize((100, 100)))
    other = picture("not in it", "/m/2.png", source="mine", patient="2", shown=eye(2))
    (leak,) = LeakGuard([images]).leaks([same, other]).values()
    assert (leak.owner, leak.key, leak.why) == ("mine", "VAL.tsv#1", "fingerprint")


def test_a_table_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("index\tquestion\n1\t?\n")
    with pytest.raises(DataError, match=r"t\.tsv lacks the column 'image'"):
        keys_in(tmp_path / "t.tsv")


def test_only_wanted_modalities_are_listed_where_a_file_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '[{"image_path": "a.png", "modality_type": "OCT"}, {"image_path": "b.png", "modality_type": "CT"}]'
    )
    assert keys_in(tmp_path, keep=lambda modality: modality == "OCT") == {"a.png"}
