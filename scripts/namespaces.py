"""Machines that are network namespaces of this one: each with an address, ports and processes of its own.

In: how many. Out: `Lan`, whose machines run commands, can be cut off and lose all their processes. Linux as root, with
iproute2's `ip`. Everything made here carries this process's number in its name and is removed at the end, nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NETWORK = "198.18.77"  # of the range that RFC 2544 keeps for such measurements: no real machine has it
HOST = f"{NETWORK}.254"  # this machine's own address on the bridge
COMMAND_S = 30.0  # longest run of one `ip`
GONE_S = 30.0  # longest wait for killed processes to be gone


class LanError(Exception):
    """What the kernel, or `ip`, would not do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace; `link` is the bridge's end of its cable."""

    namespace: str
    link: str
    address: str

    def start(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """A process there, in a session of its own, its output in the file."""
        with log.open("ab") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *command],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Pull its cable: its processes live on, and nothing reaches them, nor does anything that they send arrive."""
        run_ip("link", "set", self.link, "down")

    def mend(self) -> None:
        """Put the cable back."""
        run_ip("link", "set", self.link, "up")

    def pids(self) -> list[int]:
        """Its processes."""
        return [int(word) for word in run_ip("netns", "pids", self.namespace).split()]

    def kill_all(self) -> None:
        """End its processes at once, as a power cut would. Raises LanError where some do not go."""
        limit = time.monotonic() + GONE_S
        while pids := [pid for pid in self.pids() if not _is_zombie(pid)]:
            if time.monotonic() > limit:
                raise LanError(f"processes {pids} of {self.namespace} do not end")
            for pid in pids:
                _kill(pid)
            time.sleep(0.05)


@contextmanager
def lan(count: int) -> Iterator[list[Machine]]:
    """`count` machines on one bridge, this machine on it too, at HOST; all removed at the end, their processes ended.

    Raises LanError where they cannot be made.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise LanError("network namespaces need root and iproute2 (`apt-get install iproute2`)")
    bridge = f"fr{os.getpid()}"
    with ExitStack() as undo:
        run_ip("link", "add", bridge, "type", "bridge")
        undo.callback(_quietly, "link", "del", bridge)
        run_ip("addr", "add", f"{HOST}/24", "dev", bridge)
        run_ip("link", "set", bridge, "up")
        machines = [_plan(bridge, number) for number in range(1, count + 1)]
        for machine in machines:
            run_ip("netns", "add", machine.namespace)
            undo.callback(_quietly, "netns", "del", machine.namespace)
            undo.callback(machine.kill_all)
            for command in cable(machine, bridge=bridge):
                run_ip(*command)
            undo.callback(_quietly, "link", "del", machine.link)  # else the kernel takes its time with it
        yield machines


def _plan(bridge: str, number: int) -> Machine:
    return Machine(namespace=f"{bridge}-{number}", link=f"{bridge}v{number}", address=f"{NETWORK}.{number}")


def cable(machine: Machine, *, bridge: str) -> list[tuple[str, ...]]:
    """What `ip` is told, after its namespace is there, to connect it."""
    inside = ("-n", machine.namespace)
    return [
        ("link", "add", machine.link, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace),
        ("link", "set", machine.link, "master", bridge, "up"),
        (*inside, "addr", "add", f"{machine.address}/24", "dev", "eth0"),
        (*inside, "link", "set", "eth0", "up"),
        (*inside, "link", "set", "lo", "up"),
    ]


def run_ip(*words: str) -> str:
    """What `ip` prints. Raises LanError with what it says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode:
        raise LanError(f"ip {' '.join(words)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def _quietly(*words: str) -> None:
    """At the end: what is gone already need not be removed, and one failure must not keep the rest."""
    try:
        run_ip(*words)
    except LanError as err:
        print(f"== could not remove: {err}")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _is_zombie(pid: int) -> bool:
    """Ended, but its parent has not asked how: nothing more can be done about it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
