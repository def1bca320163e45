"""What goes along with a job, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fundus_ray.config import read
from fundus_ray.errors import ConfigError
from fundus_ray.job_folder import LARGEST_BYTES, RECIPE, pack, pack_whole, refuse_relative, refuse_secrets


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    (root / "documents" / ".git").mkdir(parents=True)
    (root / "documents" / "a.md").write_text("# A")
    (root / "documents" / ".git" / "huge").write_bytes(b"0" * 100)
    (root / "my_rewards.py").write_text("def counts(): ...")
    (root / "unrelated.bin").write_bytes(b"0" * 100)
    (root / "recipe of mine.yaml").write_text("loop: {steps: 3}")
    return root


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def test_the_recipe_and_what_the_settings_name_go_along_and_nothing_else(here: Path, into: Path) -> None:
    settings = ["knowledge.passages_dir=documents", "reward.plugin=my_rewards:counts", "policy.path=/models/qwen"]
    recipe = here / "recipe of mine.yaml"
    pack(read(recipe, settings), recipe=recipe, root=here, into=into)
    assert files(into) == ["documents/a.md", RECIPE, "my_rewards.py"]
    assert (into / RECIPE).read_text() == "loop: {steps: 3}"


def test_a_whole_folder_goes_along_without_hidden_files(here: Path, into: Path) -> None:
    pack_whole(here, recipe=here / "recipe of mine.yaml", into=into)
    assert files(into) == ["documents/a.md", RECIPE, "my_rewards.py", "recipe of mine.yaml", "unrelated.bin"]


def test_a_whole_folder_that_is_not_there_is_no_empty_one(here: Path, into: Path) -> None:
    for name in ("documentz", "my_rewards.py"):
        with pytest.raises(ConfigError, match=f"--working-dir .*{name} is not a folder here"):
            pack_whole(here / name, recipe=None, into=into)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("knowledge.passages_dir=gone", "is relative, so it is taken along from .*, but is not there"),
        ("knowledge.records_dir=../elsewhere", "lies outside of"),
    ],
)
def test_a_relative_path_must_be_there_and_below(here: Path, into: Path, setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pack(read(None, [setting]), recipe=None, root=here, into=into)


def test_too_large_a_folder_is_refused_and_the_largest_files_are_named(here: Path, into: Path) -> None:
    for name, size in (("one.bin", LARGEST_BYTES - 10), ("two.bin", 2**20)):
        with (here / "documents" / name).open("wb") as file:
            file.truncate(size)
    with pytest.raises(ConfigError, match=r"51\.0 MB along.*: documents/one\.bin \(50\.0 MB\), documents/two"):
        pack(read(None, ["knowledge.passages_dir=documents"]), recipe=None, root=here, into=into)
    assert files(into) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], r"run\.dir=runs is relative, but the run would be lost"),
        (["run.dir=/shared/runs", "data.source=jsonl", "data.path=eyes.jsonl"], "images do not travel with a job"),
        (["run.dir=/shared/runs", "knowledge.api_key_file=key"], "a secret does not travel with a job"),
    ],
)
def test_what_does_not_travel_needs_a_place_that_all_machines_see(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        refuse_relative(read(None, settings), resume=False)


def test_a_resumed_run_needs_no_run_dir() -> None:
    refuse_relative(read(None, []), resume=True)
    refuse_relative(read(None, ["run.dir=/shared", "data.path=s3://bucket/store"]), resume=False)


@pytest.mark.parametrize("name", ["ES_API_KEY", "HF_TOKEN", "aws_secret_access_key", "RAY_AUTH_TOKEN", "DB_PASSWORD"])
def test_a_variable_that_is_a_secret_by_name_is_refused_and_its_value_not_said(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--env {name}: by its name this is a secret") as refused:
        refuse_secrets({name: "hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "MONKEY"])
def test_other_variables_pass(name: str) -> None:
    refuse_secrets({name: "1"})


def test_a_password_in_an_address_is_refused_and_not_said() -> None:
    with pytest.raises(ConfigError, match="--env PROXY: its address holds a password") as refused:
        refuse_secrets({"PROXY": "http://elastic:hunter2@search:9200"})
    assert "hunter2" not in str(refused.value)
