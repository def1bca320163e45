"""`fundus-ray train` as a job of a Ray cluster: checked and sent.

In: the address of the cluster's dashboard, a recipe or a run to go on with, settings. Out: the id of a job that the
cluster has taken (job_log.py follows it). Each request has a limit.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import requests
from ray.job_submission import JobSubmissionClient

from fundus_ray.config import read
from fundus_ray.connecting import NO_ANSWER, explain_connection
from fundus_ray.errors import ConfigError
from fundus_ray.job_folder import RECIPE, pack, pack_whole, refuse_relative, refuse_secrets
from fundus_ray.job_log import FAILED_REQUEST

REQUEST_S = 60.0  # longest wait for one answer of the dashboard
AGENT_S, AGENT_PAUSE_S = 60.0, 2.0  # a head that has just come up has no agent for jobs yet
API_SERVER = "RAY_API_SERVER_ADDRESS"
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
STOP_WAIT_S = 600  # from `ray job stop` to SIGKILL; Ray's own 3 s are shorter than an update
NO_AGENT = "No available agent to submit job"


@dataclass(frozen=True, slots=True)
class Order:
    """What to submit. `resume`: a run folder that the cluster sees, or `latest`; `folder`: taken along whole."""

    address: str
    recipe: Path | None
    overrides: tuple[str, ...]
    resume: str | None
    env: Mapping[str, str]
    folder: Path | None

    def __post_init__(self) -> None:
        url = urlsplit(self.address)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.path not in ("", "/"):
            raise ConfigError(
                f"--address {self.address.rpartition('@')[2]} must be that of the cluster's dashboard, "
                "http://HOST:PORT; Ray's own port for it is 8265"
            )

    @property
    def entrypoint(self) -> str:
        """The job's command, quoted for the shell that runs it on the head."""
        words = ["fundus-ray", "train"]
        words += ["--config", RECIPE] if self.recipe else []
        words += ["--resume", self.resume] if self.resume else []
        return shlex.join([*words, *self.overrides, "ray.address=auto"])


def check_order(order: Order) -> None:
    """All that can be wrong before anything is sent. Raises ConfigError."""
    config = read(order.recipe, order.overrides)
    refuse_secrets(order.env)
    if any(item.startswith("ray.address=") for item in order.overrides):
        raise ConfigError("ray.address is set by submit: the job joins the cluster that runs it; leave it out")
    if order.resume and order.resume != "latest" and not Path(order.resume).is_absolute():
        raise ConfigError(
            f"--resume {order.resume}: give the run folder's absolute path, as the cluster's head sees it"
        )
    refuse_relative(config, resume=order.resume is not None and order.resume != "latest")


def submit(order: Order, *, say: Callable[[str], None]) -> str:
    """Send the job; returns its id. Raises ConfigError for what cannot work or a cluster that cannot be reached."""
    check_order(order)
    client = connect(order.address)
    with TemporaryDirectory(prefix="fundus-ray-job-") as name:
        into, config = Path(name), read(order.recipe, order.overrides)
        if order.folder is not None:
            taken = pack_whole(order.folder, recipe=order.recipe, into=into)
        else:
            taken = pack(config, recipe=order.recipe, root=Path.cwd(), into=into)
        if taken:
            say(f"taken along: {len(taken)} files, the first {taken[0]}")
        env = {STOP_WAIT: str(STOP_WAIT_S), **order.env}
        runtime_env = {"working_dir": name, "env_vars": env} if any(into.iterdir()) else {"env_vars": env}
        job_id = f"fundus-ray-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        _send(client, job_id, entrypoint=order.entrypoint, runtime_env=runtime_env, say=say)
    return job_id


def connect(address: str) -> JobSubmissionClient:
    """A client of the dashboard. Raises ConfigError in one line that says what is wrong and what to do."""
    for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _address_as_given(address):
            return _Client(address)
    except FAILED_REQUEST as err:
        reason = explain_connection(err)
        if reason.startswith(NO_ANSWER):
            reason += "; from another machine: ssh -L 8265:127.0.0.1:8265 HEAD, then --address http://127.0.0.1:8265"
        raise ConfigError(f"--address {address}: {reason}") from None


def how_to_go_on(address: str, job_id: str) -> str:
    """The commands to follow and to stop a job that goes on."""
    where = f"--address {address} {job_id}"
    return (
        f"follow it:  ray job logs --follow {where}\nits state:  ray job status {where}\n"
        f"stop it:    ray job stop {where}"
    )


class _Client(JobSubmissionClient):
    """With a limit to every request."""

    def _do_request(self, method: str, endpoint: str, **kwargs: Any) -> requests.Response:
        return super()._do_request(method, endpoint, **{"timeout": REQUEST_S, **kwargs})


@contextmanager
def _address_as_given(address: str) -> Iterator[None]:
    """Ray's client prefers the variable RAY_ADDRESS to its argument, and this one to both."""
    before = os.environ.get(API_SERVER)
    os.environ[API_SERVER] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[API_SERVER]
        else:
            os.environ[API_SERVER] = before


def _send(
    client: JobSubmissionClient,
    job_id: str,
    *,
    entrypoint: str,
    runtime_env: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Once, or again while the head has no agent for jobs. Raises ConfigError."""
    deadline, said = time.monotonic() + AGENT_S, False
    while True:
        try:
            client.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime_env)
            return
        except FAILED_REQUEST as err:
            if isinstance(err, requests.Timeout):
                raise ConfigError(
                    f"the cluster's dashboard has not said within {REQUEST_S:g} s whether it takes the job, so it may "
                    f"run all the same; before it is sent again: ray job status --address {client.get_address()} "
                    f"{job_id}"
                ) from None
            if NO_AGENT not in str(err) or time.monotonic() > deadline:
                raise ConfigError(f"the cluster does not take the job: {explain_connection(err)}") from None
        if not said:
            say(f"the head has no agent for jobs yet; asking again for up to {AGENT_S:g} s")
            said = True
        time.sleep(AGENT_PAUSE_S)
