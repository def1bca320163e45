from __future__ import annotations

import subprocess
from pathlib import Path

import fundus_ray
from fundus_ray.obs.versions import collect_versions, git_state


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_a_checkout_gives_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": head, "dirty": False}
    (tmp_path / "a.py").write_text("2")
    assert git_state(tmp_path) == {"commit": head, "dirty": True}


def test_a_folder_that_the_checkout_does_not_track_is_not_taken_for_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    site_packages = tmp_path / ".venv"
    site_packages.mkdir()
    (site_packages / "a.py").write_text("1")
    assert git_state(site_packages) is None


def test_packages_are_named_with_their_versions() -> None:
    versions = collect_versions()
    assert versions["packages"]["fundus_ray"] == fundus_ray.__version__
    assert {"vllm", "torch", "transformers", "ray", "peft", "tantivy", "numpy", "omegaconf"} < set(versions["packages"])
    assert all(versions["packages"][name] for name in ("numpy", "omegaconf", "tantivy"))
    assert versions["cpu_count"] >= 1
