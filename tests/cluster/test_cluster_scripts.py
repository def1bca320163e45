"""Scripts, images and services under cluster/: linters, what an image is built from, and the jobs' shell run for real
with stand-ins for Slurm's own commands, which no machine of ours has."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
TOOLS = Path(sys.executable).parent  # linters are installed beside this Python
SHELL = sorted([*CLUSTER.rglob("*.sh"), *CLUSTER.rglob("*.sbatch")])
IMAGES = sorted((CLUSTER / "docker").glob("Dockerfile.*"))
SBATCH = CLUSTER / "slurm" / "fundus_ray.sbatch"
LIMIT_S = 60.0


def run(*words: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env)


@pytest.mark.parametrize("script", SHELL, ids=lambda script: script.name)
def test_shell_script_is_clean_and_can_be_run(script: Path) -> None:
    found = run(TOOLS / "shellcheck", "--external-sources", script)
    assert (found.returncode, found.stdout) == (0, "")
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_image_is_clean_pinned_and_not_of_root(image: Path) -> None:
    found = run(TOOLS / "hadolint", image)
    assert (found.returncode, found.stdout) == (0, "")
    text = image.read_text()
    (base,) = re.findall(r"^FROM (\S+)$", text, flags=re.MULTILINE)
    assert re.fullmatch(r"\S+:\d+\.\d+\.\d+-\S+", base)
    assert re.findall(r"^USER (\S+)$", text, flags=re.MULTILINE)[-1] == "1000"


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_image_is_built_from_what_is_there_and_what_the_builder_is_sent(image: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (.*) \S+$", image.read_text(), flags=re.MULTILINE)
    copied = {word for line in lines for word in line.split()}
    assert [word for word in copied if not (ROOT / word).exists()] == []
    assert copied == sent


def test_both_images_have_the_same_python() -> None:
    bases = [re.findall(r"^FROM (\S+)$", image.read_text(), flags=re.MULTILINE) for image in IMAGES]
    assert len(bases) == 2
    assert bases[0] == bases[1]


def test_search_server_is_on_loopback_and_its_password_comes_from_outside() -> None:
    compose = yaml.safe_load((CLUSTER / "elasticsearch" / "compose.yaml").read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    variables = compose["services"]["elasticsearch"]["environment"]
    assert variables["ELASTIC_PASSWORD"].startswith("${ELASTIC_PASSWORD:?")
    assert variables["xpack.security.enabled"] == variables["xpack.security.http.ssl.enabled"] == "true"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder whose environment holds stand-ins that write their words into `calls`."""
    bin_dir = tmp_path / ".venv" / "bin"
    bin_dir.mkdir(parents=True)
    note = f'#!/bin/bash\necho "$(basename "$0") $*" >>"{tmp_path}/calls"\n'
    stand_ins = {
        "fundus-ray": 'trap "echo stopped in order; exit ${ON_STOP:-0}" TERM\n'
        f'touch "{tmp_path}/training"\nif [[ -n ${{EXIT:-}} ]]; then exit "$EXIT"; fi\nwhile :; do sleep 0.05; done\n',
        "ray": "if [[ $1 == start ]]; then exec sleep 600; fi\n",
        # As wait_for_nodes.py does, it waits for both nodes.
        "python": f'until (($(grep -c "^ray start" "{tmp_path}/calls") >= 2)); do sleep 0.02; done\n',
        "scontrol": 'if [[ $1 == show ]]; then printf "node-1\\nnode-2\\n"; fi\n',
        "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
        "hostname": "echo 192.0.2.1\n",
    }
    for name, body in stand_ins.items():
        (bin_dir / name).write_text(note + body)
        (bin_dir / name).chmod(0o755)
    (bin_dir / "activate").write_text(f"PATH={bin_dir}:$PATH\n")
    (tmp_path / "cluster").symlink_to(CLUSTER)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    return tmp_path


def calls(project: Path, command: str) -> list[str]:
    lines = (project / "calls").read_text().splitlines()
    return [line.removeprefix(command).strip() for line in lines if line.startswith(f"{command} ")]


def resumed_or_new(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{project}/.venv/bin:{os.environ['PATH']}"
    return run(CLUSTER / "train_or_resume.sh", *words, env={**os.environ, "PATH": path, "EXIT": "0"})


def test_job_starts_a_run_and_goes_on_with_it_once_it_has_a_whole_checkpoint(project: Path) -> None:
    runs = project / "runs"
    resumed_or_new(project, str(runs), "recipe.yaml", "loop.steps=9")
    half = runs / "latest" / "checkpoints" / "step-000010"
    half.mkdir(parents=True)
    resumed_or_new(project, str(runs), "recipe.yaml", "loop.steps=9")
    (half / "state.json").touch()
    resumed_or_new(project, str(runs), "recipe.yaml", "loop.steps=9")
    anew = f"train --config recipe.yaml run.dir={runs} loop.steps=9"
    assert calls(project, "fundus-ray") == [anew, anew, f"train --resume {runs}/latest loop.steps=9"]
    assert resumed_or_new(project, "only-one").returncode == 2


class Job:
    """The batch script under Slurm's variables."""

    def __init__(self, project: Path, **variables: str) -> None:
        self.project = project
        slurm = {"SLURM_JOB_ID": "1234", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_SUBMIT_DIR": str(project)}
        self._process = subprocess.Popen(
            ["bash", str(SBATCH), str(project / "runs"), "recipe.yaml", "loop.steps=9"],
            env={**os.environ, **slurm, "HOME": str(project), "RAY_AUTH_TOKEN": "of another cluster", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def signal_in_training(self, number: signal.Signals) -> None:
        """As Slurm sends one to the batch script alone."""
        limit = time.monotonic() + LIMIT_S
        while not (self.project / "training").exists():
            assert time.monotonic() < limit
            assert self._process.poll() is None
            time.sleep(0.02)
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and output."""
        said, _ = self._process.communicate(timeout=LIMIT_S)
        return self._process.returncode, said

    def clean_up(self) -> None:
        """What a failed test may have left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        job.clean_up()


def test_slurm_job_starts_ray_on_all_nodes_with_ports_and_a_token_of_its_own(project: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(project, EXIT="3"))
    code, said = job.end()
    assert code == 3, said  # that of the run
    assert calls(project, "fundus-ray") == [
        f"train --config recipe.yaml run.dir={project}/runs loop.steps=9 ray.address=192.0.2.1:23600"
    ]
    starts = [words for words in calls(project, "ray") if words.startswith("start")]
    assert len(starts) == 2
    (head,) = [words for words in starts if "--head" in words]
    assert sum("--address 192.0.2.1:23600" in words for words in starts) == 1
    assert "--port=23600" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert all("--temp-dir=/tmp/ray-1234" in words for words in starts)
    assert [words for words in calls(project, "python") if "wait_for_nodes.py 192.0.2.1:23600 2" in words] != []
    assert list((project / ".fundus_ray").iterdir()) == []  # the token is gone


def test_slurm_job_near_its_limit_stops_in_order_and_is_queued_again(project: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(project))
    job.signal_in_training(signal.SIGUSR1)
    code, said = job.end()
    assert (code, "stopped in order" in said) == (0, True), said
    assert calls(project, "scontrol")[-1] == "requeue 1234"


def test_slurm_job_that_is_told_to_end_stops_in_order_and_stays_away(project: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(project))
    job.signal_in_training(signal.SIGTERM)
    code, said = job.end()
    assert (code, "stopped in order" in said) == (0, True), said
    assert [words for words in calls(project, "scontrol") if words.startswith("requeue")] == []


def test_slurm_job_that_could_not_stop_in_order_says_so_by_its_exit_code(project: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(project, ON_STOP="5"))
    job.signal_in_training(signal.SIGTERM)
    code, said = job.end()
    assert code == 5, said


def options(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_slurm_job_uses_options_that_this_ray_has() -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    text = SBATCH.read_text()
    used = options(re.findall(r"--[a-z-]+", text[text.index("same=(") : text.index("mapfile")]))
    assert used
    assert used <= known
