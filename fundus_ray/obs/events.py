"""TensorBoard scalars without torch or TensorFlow.

In: a step and a flat dict of floats. Out: an event file in the given folder, flushed each step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class ScalarEvents:
    """One event file."""

    def __init__(self, folder: Path) -> None:
        self._writer = EventFileWriter(str(folder))

    def purge(self, step: int) -> None:
        """TensorBoard hides what earlier files of the folder hold from that step on."""
        restart = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=restart))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars under this step; TensorBoard shows NaN as a gap."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
