"""A store gives back what was written, from any place, in any order, and says what is wrong with it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fundus_ray.data.leaks.benchmark import BenchmarkImages
from fundus_ray.data.leaks.fingerprint import WORDS, Words
from fundus_ray.data.order import sample_at
from fundus_ray.data.store.manifest import verify_shards
from fundus_ray.data.store.read import Store
from fundus_ray.data.store.write import write_store
from fundus_ray.errors import DataError
from fundus_ray.types import ImageRef, Modality, Sample

LICENCES = {"ddr": "CC-BY", "top": "research only", "unused": "x"}


def sample(number: int, **changes: object) -> Sample:
    made = Sample(
        id=f"s{number}",
        image=ImageRef(f"/images/ddr/{number // 2}.png", f"{number // 2:064d}", 640 + number, 480),
        modality=list(Modality)[number % 3],
        question=f"Welche Läsion? {number}",
        options=("a", "b", "c") if number % 4 else (),
        answer=("a", "c") if number % 2 else ("b",),
        task="lesion",
        source="ddr" if number % 3 else "top",
        split="eval" if number % 5 == 0 else "train",
        patient_id=f"p{number}",
        findings=(None, (), ("drusen", "hard_exudate"))[number % 3],
        looked_for=(None, ("drusen",))[number % 2],
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def marked(count: int) -> Iterator[tuple[Sample, Words | None]]:
    rng = np.random.default_rng(0)
    for number in range(count):
        yield sample(number), rng.integers(0, 2**64, WORDS, dtype=np.uint64) if number % 7 else None


def half(count: int, split: str) -> list[Sample]:
    return [one for one, _ in marked(count) if one.split == split]


@pytest.fixture(params=["folder", "memory://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, or one of an object store that keeps its files in memory."""
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    name = f"memory://{uuid.uuid4().hex}/store"
    yield name
    fsspec.filesystem("memory").rm(name.removeprefix("memory:/").rsplit("/", 1)[0], recursive=True)


def test_samples_come_back_as_they_were_written(place: str) -> None:
    write_store(place, marked(3000), licences=LICENCES, image_root="/images", rows_a_shard=1100)
    store = Store(place)
    for split in ("train", "eval"):
        assert list(store.samples(split)) == half(3000, split)
    assert [(shard.file, shard.rows) for shard in store.manifest.shards] == [
        ("train-00000.parquet", 1100),
        ("train-00001.parquet", 1100),
        ("train-00002.parquet", 200),
        ("eval-00000.parquet", 600),
    ]
    verify_shards(store.folder, store.manifest)


def test_the_manifest_counts_and_names_licences(tmp_path: Path) -> None:
    benchmark = BenchmarkImages("funbench", ("TOP/TOP/1.jpg",), (None,))
    write_store(tmp_path / "s", marked(30), licences=LICENCES, benchmarks=[benchmark])
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    counts = manifest["counts"]
    assert (counts["rows"], counts["images"], counts["patients"]) == (30, 15, 30)
    assert counts["source"] == {"ddr": 20, "top": 10}
    assert counts["split"] == {"eval": 6, "train": 24}
    assert counts["modality"] == {"CFP": 10, "OCT": 10, "UWF": 10}
    assert manifest["licences"] == {"ddr": "CC-BY", "top": "research only"}
    assert manifest["benchmarks"] == {"funbench": 1}
    assert Store(tmp_path / "s").benchmarks() == (benchmark,)


def test_any_position_is_as_in_a_list(place: str) -> None:
    write_store(place, marked(3000), licences=LICENCES, rows_a_shard=700)
    stored, expected = Store(place).samples("train"), half(3000, "train")
    rng = np.random.default_rng(1)
    for at in [0, -1, -2400, 699, 700, 511, 512, 2399, *rng.integers(0, 2400, 50).tolist()]:
        assert stored[at] == expected[at]
    assert stored[690:720:3] == tuple(expected[690:720:3])
    for at in (2400, -2401):
        with pytest.raises(IndexError):
            stored[at]


def test_the_order_of_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_store(tmp_path / "s", marked(1500), licences=LICENCES)
    through = [sample_at(Store(tmp_path / "s").samples("train"), seed=5, group_id=group) for group in range(40)]
    again = Store(tmp_path / "s").samples("train")  # as a new process opens it
    assert [sample_at(again, seed=5, group_id=group) for group in range(25, 40)] == through[25:]
    assert through == [sample_at(half(1500, "train"), seed=5, group_id=group) for group in range(40)]


def test_writing_again_gives_the_same_content_and_another_row_another(tmp_path: Path) -> None:
    contents = [write_store(tmp_path / name, marked(40), licences=LICENCES).content for name in ("a", "b")]
    changed = [(one, mark) for one, mark in marked(40)]
    changed[3] = (replace(changed[3][0], answer=("c",)), changed[3][1])
    assert contents[0] == contents[1] != write_store(tmp_path / "c", changed, licences=LICENCES).content


def test_images_may_have_moved(tmp_path: Path) -> None:
    outside = sample(1, image=ImageRef("/elsewhere/1.png", "1", 1, 1))
    write_store(tmp_path / "s", [(sample(2), None), (outside, None)], licences=LICENCES, image_root="/images/")
    paths = [one.image.path for one in Store(tmp_path / "s", image_root="s3://bucket/eyes").samples("train")]
    assert paths == ["s3://bucket/eyes/ddr/1.png", "/elsewhere/1.png"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "s1"}, "sample id 's1' comes twice"),
        ({"split": "test"}, "sample s2: split is 'test'; allowed are train, eval"),
        ({"source": "fives"}, "sample s2: no licence is given for its source 'fives'"),
    ],
)
def test_a_sample_that_does_not_go_in_is_named_and_leaves_no_store(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        write_store(tmp_path / "s", [(sample(1), None), (sample(2, **changes), None)], licences=LICENCES)
    with pytest.raises(DataError, match=r"is not a store: it has no manifest\.json"):
        Store(tmp_path / "s")


def test_a_store_is_not_written_over(place: str) -> None:
    write_store(place, marked(3), licences=LICENCES)
    with pytest.raises(DataError, match="holds a store already"):
        write_store(place, marked(3), licences=LICENCES)


def test_what_is_missing_cut_or_changed_is_named(tmp_path: Path) -> None:
    write_store(tmp_path / "s", marked(900), licences=LICENCES)
    shard = tmp_path / "s" / "train-00000.parquet"
    content = shard.read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    shard.write_bytes(changed)
    store = Store(tmp_path / "s")
    with pytest.raises(DataError, match=r"train-00000\.parquet has changed since it was written"):
        verify_shards(store.folder, store.manifest)
    shard.write_bytes(b"\0" * len(content))
    with pytest.raises(DataError, match=r"train-00000\.parquet is damaged"):
        Store(tmp_path / "s").samples("train")[0]
    shard.write_bytes(content[:-10])
    with pytest.raises(DataError, match=rf"train-00000\.parquet has {len(content) - 10} bytes, not {len(content)}"):
        Store(tmp_path / "s")
    shard.unlink()
    with pytest.raises(DataError, match=r"train-00000\.parquet is missing"):
        Store(tmp_path / "s")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a manifest"),
        ('{"format": 9}', "is of format 9; this version reads 3"),
        ("[]", "is not a manifest"),
    ],
)
def test_another_manifest_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=said):
        Store(tmp_path)


def test_a_protocol_that_is_not_known_is_named() -> None:
    with pytest.raises(DataError, match="nosuch"):
        Store("nosuch://bucket/store")
