"""Bars of progress: one that moves on a terminal, plain lines anywhere else, as in a job's log.

In: what tqdm takes. Out: on stderr tqdm's own bar, or every LINE_EVERY_S, and at the end, a line with counts and rates:
a log keeps what a moving bar writes over, and nobody can read it there.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    Tqdm = tqdm[Any]
else:
    Tqdm = tqdm

LINE_EVERY_S = 10.0


class Bar(Tqdm):
    """tqdm, in lines where stderr is no terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lines = not sys.stderr.isatty()
        self._said = -1.0
        if self._lines:
            # Its own file, so that tqdm.write clears nothing; no drawing; looks at the clock with each step.
            kwargs |= {"file": io.StringIO(), "ascii": True, "ncols": 0, "mininterval": LINE_EVERY_S, "miniters": 1}
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """tqdm calls this whenever a bar is to be drawn anew, with `msg` to wipe it."""
        if not self._lines:
            return super().display(msg, pos)
        if msg is None and self.n not in (self._said, self.initial):
            self._said = self.n
            print(self, file=sys.stderr, flush=True)
        return True
