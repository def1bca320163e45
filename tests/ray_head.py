"""A Ray head of a test's own, as `ray start --head` makes one: dashboard, job agent and token authentication.

Every port is its own, so that it can stand beside other Rays of this machine (their job agents would clash on 52365).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

START_S = 180.0
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "ray-client-server-port",
    "metrics-export-port",
    "node-manager-port",
    "object-manager-port",
)


class RayHead:
    """The running head. `address` is the dashboard's, `gcs` what ray.init takes, `env` what reaches both."""

    def __init__(self, folder: Path, *, cpus: int) -> None:
        """folder: for logs and the token. Ray's own files go to a folder of their own, right below the temporary one: a
        socket's path holds 107 bytes, and Ray adds 75."""
        self._log = folder / "head.log"
        self._files = Path(tempfile.mkdtemp(prefix="ray"))
        self.token = folder / "auth_token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.address = f"http://127.0.0.1:{ports['dashboard-port']}"
        self.gcs = f"127.0.0.1:{ports['port']}"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_process_group_cleanup_enabled": "1",
        }
        command = [
            str(Path(sys.executable).parent / "ray"),
            *("start", "--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
            *("--include-dashboard=true", f"--num-cpus={cpus}", f"--temp-dir={self._files}"),
            *("--object-store-memory=200000000", "--include-log-monitor=false"),
            *(f"--{name}={port}" for name, port in ports.items()),
        ]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=log, start_new_session=True, cwd=folder
            )

    def jobs(self) -> list[dict[str, Any]]:
        """Ray's account of all jobs."""
        return [one for one in self._ask("/api/jobs/") if one["type"] == "SUBMISSION"]

    def _ask(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token.read_text()}"}
        request = urllib.request.Request(f"{self.address}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait(self) -> None:
        """Until the dashboard answers; raises with the head's log where it does not."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._ask("/api/version")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.stop()
        raise AssertionError(f"the head did not come up:\n{self._log.read_text()}")

    def stop(self) -> None:
        """All of its processes."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(timeout=10)
            shutil.rmtree(self._files, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all were held at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
