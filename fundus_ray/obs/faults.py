"""What became of workers that died or hung: the record of one, as faults.jsonl holds it.

In: what the crew of workers saw (crew.py), and what ended the learner (rlvr.py). Out: `Fault`, and its line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fundus_ray.errors import HungError, NodeLeftError, ProcessDiedError, WorkerDiedError

KINDS = {HungError: "hung", NodeLeftError: "left"}  # any other is "died"


@dataclass(frozen=True, slots=True)
class Fault:
    """One death."""

    time: float  # s since the epoch, when it was found
    role: str  # "engine" | "reward" | "learner"
    worker: str
    kind: str  # "died" | "hung" | "left", with its machine
    cause: str  # one line
    requeued: tuple[int, ...]  # ids of the groups that were under way there, which others do again
    recover_s: float | None = None  # until it took work again; None where it died once more before that

    def line(self) -> dict[str, Any]:
        """As one record of JSON."""
        return asdict(self)


Tell = Callable[[Fault], None]


def kind_of(death: ProcessDiedError) -> str:
    """As `Fault.kind`."""
    return next((kind for error, kind in KINDS.items() if isinstance(death, error)), "died")


def restarts_spent(death: ProcessDiedError, *, setting: str, allowed: int, deaths: str) -> WorkerDiedError:
    """The error that ends the run; its last line names the cause. Of no subclass, as no new process takes the place."""
    return WorkerDiedError(
        f"{death}\nThe restarts are spent ({setting}={allowed}). Deaths: {deaths}; the last: {first_line(death)}"
    )


def first_line(death: ProcessDiedError) -> str:
    """Who died and of what; the lines after it are about the log."""
    return str(death).partition("\n")[0]
