"""A server of one's own that speaks the Elasticsearch API: package noida-db as a child process, which may be killed and
started again on the same port and data. For tests and measurements; not a program."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

START_S, STOP_S = 60.0, 10.0


class Server:
    """Started at once; `wait` until it answers."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds its data and log. Raises FileNotFoundError where the package is not installed."""
        spec = find_spec("noida_db")
        if spec is None or spec.origin is None:
            raise FileNotFoundError("no package noida-db: install the extra `dev`")
        # The program itself, not the script around it: that one would leave it behind when stopped.
        self._program = Path(spec.origin).parent / "noida-db"
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, also again after `stop`."""
        command = [str(self._program), "start", "--only", "elasticsearch"]
        command += ["--elasticsearch-port", str(self._port), "--data-dir", str(self._folder)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder)

    def wait(self) -> None:
        """Until it answers. Raises RuntimeError where it ends, TimeoutError where it does not within START_S."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"the search server ended at its start; see {self._folder / 'server.log'}")
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(f"the search server did not answer within {START_S:g} s")

    def wait_until_saved(self, alias: str) -> None:
        """Until its data on disk hold the alias, which a build sets last. Raises TimeoutError."""
        data, until = self._folder / "elasticsearch.json", time.monotonic() + START_S
        while not (data.exists() and f'"{alias}"' in data.read_text(errors="replace")):
            if time.monotonic() > until:
                raise TimeoutError(f"the search server has not saved {alias} within {START_S:g} s")
            time.sleep(0.1)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Kill it, at once: what it has not saved is lost."""
        self._process.kill()
        self._process.wait(STOP_S)
