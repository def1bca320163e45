"""All checks together: on this machine, through the command line, and on a real cluster of two Ray nodes."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from search_server import Server

from fundus_ray.cli import main
from fundus_ray.config import load
from fundus_ray.doctor.ask_nodes import ask_here
from fundus_ray.doctor.examine import examine, preflight, preflight_learner
from fundus_ray.doctor.findings import Finding, Verdict
from fundus_ray.doctor.needs import SEARCH_PAUSE_S, needs_of
from fundus_ray.errors import ConfigError
from fundus_ray.knowledge.elastic_client import LONGEST_PAUSE_S
from fundus_ray.pipeline import run
from fundus_ray.places import Node


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {one.check: one for one in findings}


def test_the_quickstart_can_run_on_this_machine_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    assert main(["doctor", "--config", str(recipe), f"run.dir={tmp_path / 'runs'}"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("ok", "warn", "fail"))]
    assert {row[0] for row in rows} == {"ok"}
    assert {row[1] for row in rows} >= {"machine", "placement", "versions", "model", "adapters", "disk", "memory"}
    assert "kept for gradients" in out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cut_off(tiny_policy: Path, tmp_path: Path) -> Path:
    """A checkpoint whose weights are not whole."""
    folder = Path(shutil.copytree(tiny_policy, tmp_path / "model"))
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    return folder


def test_a_run_that_cannot_work_ends_before_data_models_or_actors(
    cut_off: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"policy:\n  path: {cut_off}\nsft:\n  steps: 0\nrun:\n  dir: {runs}\n")
    assert main(["train", "--config", str(recipe)]) == 2
    told = capsys.readouterr()
    assert "model.safetensors is not whole" in told.out
    assert "== doctor: " in told.out
    assert "this run cannot work: model, this machine: " in told.err
    assert not runs.exists()  # no data rendered, no run folder, no log of an actor


def test_a_learner_alone_is_examined_for_itself_and_its_base_weights(
    tiny_policy: Path, cut_off: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = ["rollout.workers=1000", "knowledge.store=elasticsearch", "knowledge.url=http://127.0.0.1:9"]
    config = load(None, [*crowd, f"run.dir={tmp_path / 'runs'}"])
    preflight_learner(config, base=tiny_policy)
    assert "== doctor: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="this run cannot work: model"):
        preflight_learner(config, base=cut_off)


def test_input_that_cannot_be_read_is_a_row_like_any_other(tmp_path: Path) -> None:
    config = load(None, ["data.source=jsonl", f"data.path={tmp_path}/none.jsonl", f"run.dir={tmp_path}"])
    (row,) = examine(config)
    assert (row.check, row.verdict) == ("input", Verdict.FAIL)
    assert "none.jsonl does not exist" in row.found


def test_some_images_of_a_jsonl_are_hashed_and_measured(tmp_path: Path) -> None:
    from PIL import Image

    rows = []
    for number in range(9):
        Image.new("RGB", (112 + 28 * number, 112)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "modality": "CFP", "question": "?", "answer": "yes"})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = load(None, ["data.source=jsonl", f"data.path={tmp_path}/rows.jsonl", f"run.dir={tmp_path}/runs"])
    found = by_check(examine(config))
    assert found["images"].found == "6 sample images read, hashes right"
    assert found["prompts"].verdict is Verdict.OK


def test_a_run_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (row,) = examine(load(None, [f"run.dir={tmp_path}/file/runs"]))
    assert (row.check, row.verdict) == ("run folder", Verdict.FAIL)


def test_another_failure_of_the_system_is_not_blamed_on_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ConnectionResetError("the head is gone")  # an OSError, as a folder's are

    monkeypatch.setattr("fundus_ray.doctor.examine.ask_here", lost)
    with pytest.raises(ConnectionResetError, match="the head is gone"):
        examine(load(None, [f"run.dir={tmp_path}/runs"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("1,-1,0", 1), ("0, 1,2", 2)])
def test_gpus_that_are_hidden_from_this_process_are_not_counted(
    visible: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = {"name": "a GPU", "total": 1 << 34, "used": 0}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("fundus_ray.doctor.node_report.gpus", lambda: [gpu, gpu])
    row = by_check(examine(load(None, ["rollout.gpus=1", f"run.dir={tmp_path}"])))["machine"]
    assert row.found.endswith(f"and {count} GPUs")


def test_a_search_server_that_is_slow_has_its_own_tries_before_the_machine_counts_as_silent(tmp_path: Path) -> None:
    slow = ["knowledge.store=elasticsearch", "knowledge.timeout_s=60", "knowledge.retries=2", f"run.dir={tmp_path}"]
    assert needs_of(load(None, slow), snapshot="x").search_s == 3 * (60 + 5)
    assert needs_of(load(None, [f"run.dir={tmp_path}"]), snapshot="").search_s == 0
    assert SEARCH_PAUSE_S == LONGEST_PAUSE_S


def test_a_search_server_that_answers_passes_and_one_that_is_gone_fails(own_server: Server, tmp_path: Path) -> None:
    settings = ["knowledge.store=elasticsearch", f"knowledge.url={own_server.url}", "knowledge.retries=0"]
    config = load(None, [*settings, f"run.dir={tmp_path}"])
    row = by_check(examine(config))["knowledge"]
    assert row.verdict is Verdict.OK
    assert "which the run builds" in row.found
    own_server.stop()
    row = by_check(examine(config))["knowledge"]
    assert (row.verdict, own_server.url in row.found) == (Verdict.FAIL, True)
    assert "start Elasticsearch there" in row.remedy


def test_a_machine_whose_disk_hangs_is_given_up_after_the_limit() -> None:
    gone = threading.Event()

    def question(name: str) -> dict[str, object]:
        gone.wait(30.0)  # as on a file system that is gone
        return {}

    (machine,) = ask_here(Node("here", {}, {}), question, limit_s=0.05)
    gone.set()
    assert machine.problem == "gave no answer within 0.05 s"


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """The address of a real cluster of a head with one CPU and a node with two."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def test_every_node_of_a_cluster_is_asked(two_nodes: str, tmp_path: Path) -> None:
    config = load(None, [f"ray.address='{two_nodes}'", f"run.dir={tmp_path}", "rollout.cpus=2"])
    findings = examine(config)
    odd = [one for one in findings if one.verdict is not Verdict.OK]
    assert [one for one in odd if one.check != "token"] == []  # which depends on the user's own
    found = by_check(findings)
    assert found["machine"].found == "2 of 2 answered, with 3 CPUs and 0 GPUs"
    assert found["placement"].found == "3 places on 2 machines"
    assert len(found["run folder"].where.split(", ")) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_the_cluster_has_no_place_for_ends_with_the_bundle_and_the_numbers(
    two_nodes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(None, [f"ray.address='{two_nodes}'", f"run.dir={tmp_path}", "rollout.cpus=3", "learner.cpus=0"])
    with pytest.raises(ConfigError, match="cannot work: placement"):
        run(config)
    assert "rollout-0 asks for 3 CPUs" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_answer_is_a_failure_with_a_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        config = load(None, [f"ray.address='127.0.0.1:{taken.getsockname()[1]}'", f"run.dir={tmp_path}"])
        found = by_check(examine(config))
        with pytest.raises(ConfigError, match="cannot work"):
            preflight(config)
    assert found["cluster"].verdict is Verdict.FAIL
    assert "ray start --head" in found["cluster"].remedy
