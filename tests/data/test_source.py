"""Loading: halves that share nothing, and a cache that is either whole or absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fundus_ray.config import Config, load
from fundus_ray.data import source
from fundus_ray.data.cache import content_key, render_once, view_seeds
from fundus_ray.data.source import DataSplit, divide
from fundus_ray.errors import DataError
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import ImageRef, Modality, Sample


def small(kind: str = "phantoms", **more: str) -> Config:
    overrides = [f"data.source={kind}", "data.image_px=56"]
    if kind != "jsonl":
        overrides += ["data.train_samples=6", "data.eval_samples=3"]
    if kind != "phantoms":
        overrides.append("sft.vision_warmup_steps=0")
    return load(overrides=[*overrides, *(f"{key.replace('__', '.')}={value}" for key, value in more.items())])


def load_data(config: Config, *, cache_dir: Path) -> DataSplit:
    return source.load_data(config, cache_dir=cache_dir, finding_ids=load_vocabulary().ids)


def make_sample(name: str, *, split: str, patient: str, sha256: str) -> Sample:
    image = ImageRef(f"{name}.png", sha256, 8, 8)
    return Sample(name, image, Modality.CFP, "?", (), ("a",), "t", "s", split, patient)


def grey(seed: int) -> NDArray[np.uint8]:
    return np.full((4, 4, 3), seed, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["phantoms", "photo"])
def test_rendered_sources_give_the_asked_sizes_and_disjoint_halves(tmp_path: Path, kind: str) -> None:
    split = load_data(small(kind), cache_dir=tmp_path)
    assert (len(split.train), len(split.evaluation)) == (6, 3)
    assert not {s.patient_id for s in split.train} & {s.patient_id for s in split.evaluation}
    assert not {s.image.sha256 for s in split.train} & {s.image.sha256 for s in split.evaluation}


def test_seeds_of_the_halves_never_meet_even_across_runs() -> None:
    train = {seed for run in range(4) for seed in view_seeds(run, count=3000, split="train")}
    held_out = {seed for run in range(4) for seed in view_seeds(run, count=3000, split="eval")}
    assert len(train) == len(held_out) == 12000
    assert not train & held_out


def test_a_second_load_reuses_the_images_and_gives_the_same_samples(tmp_path: Path) -> None:
    first = load_data(small(), cache_dir=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert load_data(small(), cache_dir=tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == times


def test_another_seed_or_size_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    load_data(small(), cache_dir=tmp_path)
    load_data(small(run__seed="1"), cache_dir=tmp_path)
    load_data(small(data__image_px="84"), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_cached_image_is_named(tmp_path: Path) -> None:
    damaged = Path(load_data(small(), cache_dir=tmp_path).train[2].image.path)
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(DataError, match=damaged.name):
        load_data(small(), cache_dir=tmp_path)


def test_a_render_that_dies_half_way_leaves_nothing_that_counts_as_whole(tmp_path: Path) -> None:
    def dies(seed: int) -> NDArray[np.uint8]:
        if seed == 2:
            raise KeyboardInterrupt
        return grey(seed)

    with pytest.raises(KeyboardInterrupt):
        render_once(tmp_path / "set", seeds=range(4), draw=dies, label="test")
    assert not (tmp_path / "set").exists()
    paths = render_once(tmp_path / "set", seeds=range(4), draw=grey, label="test")
    assert [np.asarray(Image.open(paths[seed])).mean() for seed in range(4)] == [0, 1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_a_killed_run_left_beside_the_folder_is_not_used(tmp_path: Path) -> None:
    left = tmp_path / ".set-abc" / "part"
    left.mkdir(parents=True)
    (left / "0.png").write_bytes(b"half")
    paths = render_once(tmp_path / "set", seeds=range(2), draw=grey, label="test")
    assert np.asarray(Image.open(paths[0])).mean() == 0


def test_two_runs_that_render_at_once_both_end_with_a_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def overtaken(seed: int) -> NDArray[np.uint8]:
        if not folder.exists():
            render_once(folder, seeds=range(2), draw=grey, label="the quicker run")
        return grey(seed)

    paths = render_once(folder, seeds=range(2), draw=overtaken, label="the slower run")
    assert all(path.is_file() for path in paths.values())


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cache folder .*file/phantoms-\w+ cannot be written"):
        load_data(small(), cache_dir=tmp_path / "file")


def test_the_content_key_changes_with_each_part() -> None:
    keys = {content_key(a=1, b=2), content_key(a=1, b=3), content_key(a=2, b=2), content_key(a=12, b="")}
    assert len(keys) == 4
    assert content_key(a=1, b=2) == content_key(b=2, a=1)


@pytest.mark.parametrize("shared", ["patient", "image"])
def test_a_patient_or_image_in_both_halves_is_refused(shared: str) -> None:
    first = make_sample("one", split="train", patient="p1", sha256="aa")
    second = make_sample("two", split="eval", patient="p2", sha256="bb")
    assert divide([first, second], origin="rows.jsonl").evaluation == (second,)
    leak = replace(second, patient_id="p1") if shared == "patient" else replace(second, image=first.image)
    with pytest.raises(
        DataError, match=rf"rows\.jsonl: {shared} .* both halves: samples one \(train\) and two \(eval\)"
    ):
        divide([first, leak], origin="rows.jsonl")


def write_rows(folder: Path, splits: list[str]) -> Path:
    rows = []
    for i, split in enumerate(splits):
        Image.fromarray(grey(i)).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "modality": "CFP", "question": "?", "answer": "x", "split": split})
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_jsonl_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = write_rows(tmp_path, ["train", "train", "eval"])
    split = load_data(small("jsonl", data__path=str(path)), cache_dir=tmp_path)
    assert [sample.id for sample in split.train] == ["rows-1", "rows-2"]
    assert [sample.id for sample in split.evaluation] == ["rows-3"]


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path, ["eval", "eval"])
    with pytest.raises(DataError, match=r"rows\.jsonl: no sample is left for training"):
        load_data(small("jsonl", data__path=str(path)), cache_dir=tmp_path)


def test_nothing_held_out_is_refused_unless_evaluation_is_off(tmp_path: Path) -> None:
    path = write_rows(tmp_path, ["train", "train"])
    with pytest.raises(DataError, match="no sample is held out"):
        load_data(small("jsonl", data__path=str(path)), cache_dir=tmp_path)
    split = load_data(small("jsonl", data__path=str(path), evaluate__samples="0"), cache_dir=tmp_path)
    assert split.evaluation == ()
