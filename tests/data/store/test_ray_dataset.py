"""Ray Data reads every row of a store once, over several workers, and hashes images as this process does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from PIL import Image

from fundus_ray.data.images import image_ref
from fundus_ray.data.leaks.fingerprint import file_fingerprint
from fundus_ray.data.rendered.phantoms import render
from fundus_ray.data.store.ray_dataset import image_fingerprints, store_dataset
from fundus_ray.data.store.read import Store
from fundus_ray.data.store.write import write_store
from fundus_ray.errors import DataError
from fundus_ray.types import Modality, Sample


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 1024**2)
    yield
    ray.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Nine rows in three shards; the last image is gone."""
    rows = []
    for seed in range(9):
        path = tmp_path / f"{seed}.png"
        Image.fromarray(render(seed, image_px=84).pixels).save(path)
        row = Sample(str(seed), image_ref(path), Modality.CFP, "?", (), ("a",), "t", "s", "train", str(seed))
        rows.append((row, file_fingerprint(path)))
    write_store(tmp_path / "s", rows, licences={"s": "CC0"}, image_root=str(tmp_path), rows_a_shard=3)
    (tmp_path / "8.png").unlink()
    return Store(tmp_path / "s")


def test_every_row_is_read_once(cluster: None, store: Store) -> None:
    rows = store_dataset(store, "train", columns=["id", "image"]).take_all()
    assert sorted(row["id"] for row in rows) == [str(seed) for seed in range(9)]
    assert set(rows[0]) == {"id", "image"}


def test_workers_get_parts_that_share_nothing(cluster: None, store: Store) -> None:
    parts = store_dataset(store, "train", columns=["id"]).split(2)
    ids = [[row["id"] for row in part.take_all()] for part in parts]
    assert sorted(ids[0] + ids[1]) == [str(seed) for seed in range(9)]


def test_images_are_hashed_where_the_workers_are(cluster: None, store: Store) -> None:
    made = {row["image"]: row for row in image_fingerprints(store, "train").take_all()}
    stored = {row["image"]: row["fingerprint"] for row in store.rows("train", ["image", "fingerprint"])}
    assert {name: row["fingerprint"] for name, row in made.items() if name != "8.png"} == {
        name: mark for name, mark in stored.items() if name != "8.png"
    }
    assert made["8.png"]["fingerprint"] is None
    assert "8.png does not exist" in made["8.png"]["problem"]


def test_an_empty_half_is_named(store: Store) -> None:
    with pytest.raises(DataError, match="its half 'eval' holds no sample"):
        store_dataset(store, "eval")
