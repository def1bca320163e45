"""Jobs on a real Ray head with its dashboard and token authentication, and what is refused before one is sent."""

from __future__ import annotations

import contextlib
import http.server
import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from ray_head import RayHead

from fundus_ray import submit as submitting
from fundus_ray.cli import main
from fundus_ray.errors import ConfigError
from fundus_ray.job_log import JobEndedError
from fundus_ray.submit import Order, check_order, connect, submit

BIN = Path(sys.executable).parent
JOB_S = 480.0  # longest that a test waits for a job


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    running = RayHead(tmp_path_factory.mktemp("head"), cpus=2)
    try:
        running.wait()
        yield running
    finally:
        running.stop()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("loop: {steps: 3}\n")
    return path


def order(**changes: Any) -> Order:
    whole: dict[str, Any] = {
        "address": "http://127.0.0.1:8265",
        "recipe": None,
        "overrides": ("run.dir=/shared/runs",),
        "resume": None,
        "env": {},
        "folder": None,
    }
    return Order(**{**whole, **changes})


def started(head: RayHead, *words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        env=head.env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_jobs_end_as_their_commands_end_and_their_logs_reach_the_terminal(
    head: RayHead, tmp_path: Path, recipe: Path
) -> None:
    """Both ways of submitting at once, as each job takes seconds to start."""
    where = ("--address", head.address)
    plain = started(
        head, "ray", "job", "submit", *where, "--working-dir", str(tmp_path), "--", "fundus-ray", "config", "--config",
        "mine.yaml", cwd=Path("/"),
    )  # fmt: skip
    settings = (f"run.dir={tmp_path}/my runs", "policy.path=/no/such/model")  # the first for the quoting
    ours = started(head, "fundus-ray", "submit", *where, "--config", str(recipe), *settings, cwd=tmp_path)
    out, err = ours.communicate(timeout=JOB_S)
    assert ours.returncode == 2, out + err
    job_id = out.split()[1]
    cause = "policy.path=/no/such/model is not a checkpoint folder (no config.json); give one, or `tiny` or `reader`"
    assert f"fundus-ray: error: {cause}\n" in out  # the job's own log
    assert err.splitlines()[-1] == f"fundus-ray: error: job {job_id} failed with exit code 2: {cause}"
    assert f"stop it:    ray job stop --address {head.address} {job_id}" in out

    left = started(head, "fundus-ray", "submit", *where, "--resume", "/no/such/run", cwd=tmp_path)
    assert left.stdout is not None
    next(line for line in left.stdout if line.startswith("stop it:"))
    left.send_signal(signal.SIGINT)
    out, err = left.communicate(timeout=JOB_S)
    assert left.returncode == 130
    assert err.startswith("fundus-ray: no longer following; job fundus-ray-")
    assert f" goes on\nfollow it:  ray job logs --follow --address {head.address} fundus-ray-" in err

    out, err = plain.communicate(timeout=JOB_S)
    assert plain.returncode == 0, out + err
    assert "  steps: 3" in out
    assert "succeeded" in out


def test_a_wrong_token_is_one_line_that_says_what_to_do(
    head: RayHead, tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    command = [str(BIN / "fundus-ray"), "submit", "--address", head.address, "--config", str(recipe), "run.dir=/shared"]
    env = {**head.env, "RAY_AUTH_TOKEN_PATH": str(wrong)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=JOB_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"fundus-ray: error: --address {head.address}: the cluster asks for a token, and that of ")
    assert "0000" not in line


class Proxy:
    """A way to the head that can be cut."""

    def __init__(self, address: str) -> None:
        self._to = (str(urlsplit(address).hostname), int(urlsplit(address).port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """All connections of this moment; new ones are taken."""
        for pair in self._pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                pair = self._listener.accept()[0], socket.create_connection(self._to)
                self._pairs.append(pair)
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for side in (one, other):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(head: RayHead) -> Iterator[Proxy]:
    way = Proxy(head.address)
    yield way
    way.close()


def test_a_training_job_that_is_stopped_ends_in_order_and_its_whole_log_is_seen_over_a_lost_connection(
    head: RayHead, proxy: Proxy, tmp_path: Path, recipe: Path
) -> None:
    small = ["data.train_samples=24", "data.eval_samples=2", "sft.steps=2", "sft.vision_warmup_steps=1"]
    small += ["sft.batch_size=4", "rollout.group_size=2", "rollout.max_tokens=8", "loop.groups_per_step=2"]
    runs = tmp_path / "runs"
    small += ["evaluate.samples=0", "evaluate.photo=false", "loop.steps=100000", f"run.dir={runs}"]
    command = ("fundus-ray", "submit", "--address", proxy.address, "--config", str(recipe), *small)
    ours = started(head, *command, "loop.checkpoint_every=0", cwd=tmp_path)
    try:
        wait_for_an_update(runs / "latest")
        proxy.cut()
        (job_id,) = (entry["submission_id"] for entry in head.jobs() if entry["status"] == "RUNNING")
        stop = ("ray", "job", "stop", "--address", head.address, job_id)
        subprocess.run(stop, env=head.env, check=True, capture_output=True, timeout=JOB_S)
        out, err = ours.communicate(timeout=JOB_S)
    finally:
        ours.kill()
    assert ours.returncode == 130, out + err
    assert err.splitlines()[-1] == f"fundus-ray: error: job {job_id} was stopped; where it stands is said above"
    lines = out.splitlines()
    assert sum(line.startswith("== lost the connection to the cluster") for line in lines) == 1
    assert sum(line.startswith("== data:") for line in lines) == 1  # the log from its start, each line once
    assert "fundus-ray: ended in order after SIGTERM" in lines
    done = len((runs / "latest" / "metrics.jsonl").read_text().splitlines())
    assert (runs / "latest" / "checkpoints" / f"step-{done:06d}").is_dir()
    (stands,) = (line for line in lines if line.startswith("== stopped; "))
    again = f"fundus-ray train --resume {(runs / 'latest').resolve()}"
    assert stands == f"== stopped; the checkpoint of update {done} stands; go on with: {again}"


def wait_for_an_update(latest: Path) -> None:
    deadline = time.monotonic() + JOB_S
    while time.monotonic() < deadline:
        metrics = latest / "metrics.jsonl"
        if metrics.is_file() and metrics.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"no update within {JOB_S:g} s: {latest}")


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Ray's answers to a client; `jobs`: to the jobs that are sent, one after the other, the last one again and again,
    each after `late_s`."""

    late_s: ClassVar[float] = 0.0
    jobs: ClassVar[Sequence[tuple[int, str]]] = ()
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": ""}))

    def do_POST(self) -> None:
        type(self).asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        time.sleep(self.late_s)
        self._answer(*self.jobs[min(len(self.asked), len(self.jobs)) - 1])

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def dashboard() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Dashboard.asked = []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(30)
    server.server_close()


def test_a_head_without_an_agent_yet_is_asked_again(dashboard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "AGENT_PAUSE_S", 0.01)
    Dashboard.jobs = [
        (500, submitting.NO_AGENT),
        (500, submitting.NO_AGENT),
        (200, '{"job_id": "x", "submission_id": "x"}'),
    ]
    said: list[str] = []
    job_id = submit(order(address=dashboard, resume="/shared/run 1", env={"NCCL_DEBUG": "INFO"}), say=said.append)
    assert said == ["the head has no agent for jobs yet; asking again for up to 60 s"]
    assert [one["submission_id"] for one in Dashboard.asked] == [job_id] * 3  # never two jobs
    sent = Dashboard.asked[-1]
    assert sent["entrypoint"] == "fundus-ray train --resume '/shared/run 1' run.dir=/shared/runs ray.address=auto"
    assert sent["runtime_env"] == {"env_vars": {"NCCL_DEBUG": "INFO", "RAY_JOB_STOP_WAIT_TIME_S": "600"}}


def test_a_head_that_stays_without_an_agent_is_refused_with_the_likely_cause(
    dashboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "AGENT_S", 0.0)
    Dashboard.jobs = [(500, submitting.NO_AGENT)]
    with pytest.raises(ConfigError, match=r"does not take the job: its head has no agent for jobs: .*\(52365\)"):
        submit(order(address=dashboard), say=print)


def test_an_answer_that_does_not_come_leaves_the_job_in_doubt_and_says_how_to_look(
    dashboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "REQUEST_S", 0.2)
    monkeypatch.setattr(Dashboard, "late_s", 0.4)
    Dashboard.jobs = [(200, '{"job_id": "x", "submission_id": "x"}')]
    with pytest.raises(ConfigError, match="it may run all the same") as unclear:
        submit(order(address=dashboard), say=print)
    assert f"ray job status --address {dashboard} {Dashboard.asked[0]['submission_id']}" in str(unclear.value)
    assert len(Dashboard.asked) == 1


def test_the_given_address_counts_and_not_a_variable(dashboard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert connect(dashboard).get_address() == dashboard


def test_no_cluster_is_one_line_that_says_how_to_reach_one() -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster answers .*ssh -L 8265:127\.0\.0\.1:8265 HEAD"):
        connect("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overrides": ("run.dir=/shared", "loop.stepz=1")}, "did you mean loop.steps"),
        ({"overrides": ("run.dir=/shared", "loop.steps=-1")}, "loop.steps=-1 is not allowed"),
        ({"overrides": ("run.dir=/shared", "ray.address=local")}, "ray.address is set by submit"),
        ({"overrides": ()}, "run.dir=runs is relative"),
        ({"resume": "runs/latest"}, "give the run folder's absolute path"),
        ({"env": {"HF_TOKEN": "hunter2"}}, "--env HF_TOKEN: by its name this is a secret"),
        (
            {"overrides": ("run.dir=/shared", "data.path=http://me:hunter2@host/x")},
            "data.path holds a user or password in its address",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        check_order(order(**changes))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://me:pw@head:8265", "http://head:8265/x"])
def test_the_address_must_be_that_of_a_dashboard(address: str) -> None:
    with pytest.raises(ConfigError, match="must be that of the cluster's dashboard") as refused:
        order(address=address)
    assert "pw" not in str(refused.value)


def test_settings_reach_the_shell_as_they_are() -> None:
    words = ("run.dir=/a b", "run.name='x'; rm -rf $HOME")
    quoted = order(overrides=words, recipe=Path("x.yaml")).entrypoint
    shown = subprocess.run(
        ["sh", "-c", quoted.replace("fundus-ray train", "printf '%s\\n'")], capture_output=True, text=True
    )
    assert shown.stdout.splitlines() == ["--config", "fundus-ray-recipe.yaml", *words, "ray.address=auto"]


def test_an_ended_job_survives_pickling() -> None:
    err = pickle.loads(pickle.dumps(JobEndedError("job x was stopped", 130)))
    assert (str(err), err.exit_code) == ("job x was stopped", 130)


def test_submit_without_a_recipe_or_a_malformed_variable_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--address", "http://h:1"]) == 2
    assert "submit needs a recipe or a run to go on with" in capsys.readouterr().err
    assert main(["submit", "--address", "http://h:1", "--resume", "/x", "--env", "A"]) == 2
    assert "--env A is not of the form NAME=VALUE" in capsys.readouterr().err
