"""What is shipped for users to run: every recipe loads, and every command in the README pages exists as written."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from fundus_ray.cli import build_parser, parse
from fundus_ray.config import Config, documented_fields, load
from fundus_ray.config.policy import NO_FOLDER
from fundus_ray.data.jsonl import jsonl_samples
from fundus_ray.knowledge.vocabulary import load_vocabulary

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
DEFAULTS: dict[str, Any] = {key: value for key, _, value in documented_fields(Config())}


def readme_commands(text: str) -> Iterator[list[str]]:
    """The words of each command in the ```bash fences, without VARIABLE=value before it and `< FILE` behind it."""
    for fence in re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in fence.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield words[: words.index("<")] if "<" in words else words


PAGES = (ROOT / "README.md", ROOT / "cluster" / "README.md")
COMMANDS = [words for page in PAGES for words in readme_commands(page.read_text())]
FUNDUS_RAY = [words[1:] for words in COMMANDS if Path(words[0]).name == "fundus-ray"]
SCRIPTS = [words for words in COMMANDS if words[0].startswith("./")]


def ids(words: list[str]) -> str:
    return " ".join(words)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_loads(recipe: Path, tmp_path: Path) -> None:
    path = yaml.safe_load(recipe.read_text()).get("policy", {}).get("path", "tiny")
    (tmp_path / "config.json").write_text("{}")  # a checkpoint that its user has to bring
    load(recipe, [] if path in NO_FOLDER or Path(path).is_dir() else [f"policy.path={tmp_path}"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_recipe_holds_only_what_differs_from_the_defaults(recipe: Path) -> None:
    tree = yaml.safe_load(recipe.read_text())
    same = [f"{s}.{k}" for s, part in tree.items() for k, value in part.items() if value == DEFAULTS[f"{s}.{k}"]]
    assert same == []


def test_readme_shows_the_two_commands_and_every_recipe() -> None:
    assert {"./scripts/quickstart.sh", "./scripts/test.sh"} <= {words[0] for words in SCRIPTS}
    shown = " ".join(ids(words) for words in COMMANDS)
    assert [recipe.name for recipe in RECIPES if f"configs/{recipe.name}" not in shown] == []


def test_jsonl_row_of_the_readme_is_taken(tmp_path: Path) -> None:
    (fence,) = re.findall(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    row = json.loads(fence)
    (tmp_path / "img").mkdir()
    Image.new("RGB", (56, 56)).save(tmp_path / row["image"])
    Image.new("RGB", (56, 56), "red").save(tmp_path / "img" / "other.png")
    other = {**row, "image": "img/other.png", "patient_id": "p18"}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    sample, _ = jsonl_samples(tmp_path / "rows.jsonl", finding_ids=load_vocabulary().ids, eval_fraction=0.5, seed=0)
    assert (sample.answer, sample.findings) == (("diabetic retinopathy",), ("microaneurysm", "hard_exudate"))
    assert set(sample.findings or ()) <= set(load_vocabulary().findings)


@pytest.mark.parametrize("words", FUNDUS_RAY, ids=ids)
def test_fundus_ray_command_of_the_readme_parses(words: list[str]) -> None:
    args = parse(build_parser(), words)
    assert [item for item in getattr(args, "overrides", []) if item.split("=")[0] not in DEFAULTS] == []
    recipe = getattr(args, "config", None)
    assert recipe is None or (ROOT / recipe).is_file()


@pytest.mark.parametrize("words", SCRIPTS, ids=ids)
def test_script_of_the_readme_is_there_and_is_bash(words: list[str]) -> None:
    script = ROOT / words[0]
    assert script.stat().st_mode & 0o111, "executable"
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    settings = [word for word in words[1:] if "=" in word]
    assert [item for item in settings if item.split("=")[0] not in DEFAULTS] == []


@pytest.mark.parametrize("script", sorted(ROOT.glob("scripts/*.sh")), ids=lambda script: script.name)
def test_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


def test_readme_commands_are_read_as_a_shell_would() -> None:
    page = (
        "text\n```bash\nA=1 ./scripts/x.sh a.b=c # why\n\nfundus-ray train \\\n  --config y\n```\n```\nnot this\n```\n"
    )
    assert list(readme_commands(page)) == [["./scripts/x.sh", "a.b=c"], ["fundus-ray", "train", "--config", "y"]]
