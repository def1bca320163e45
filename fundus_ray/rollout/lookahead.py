"""Which group may be trained before an older one: the windowed order, within the same bound on lag.

In: admissions, drops and takes as the slot buffer sees them, counted by the last step that keeps a group's lag within
the bound. Out: whether a finished group may pass the unfinished ones before it. Pure, own choice.

Let P = groups a step, L = largest lag. A group admitted while step s is under way is written by version s or a newer
one, so it keeps the bound if it is trained in step s + L or before: that is its last step. `may_pass` lets a group go
first only where afterwards, for every step d, all groups that are due by d still fit into the steps up to d:

    groups due by d  <=  (P - taken in this step - 1) + P x (d - this step)

Proof that this keeps the bound. The condition "due by d <= places up to d, for every d" holds at an admission, as at
most (1 + L) P groups hold a slot (rollout/buffer.py) and the new one is due last of all; it is kept by taking the
oldest, whose last step is the nearest; by a drop, which only takes one away; and by `may_pass` itself. At d = this step
it says that all groups that are due now get into this batch. QED

With a whole ratio r every place of a step is due in a full buffer, so only drops give room to pass. A ratio below its
own bound has room: at r = 0.5 half of each batch may be whichever groups are done first.
"""

from __future__ import annotations

from collections import Counter


class Lookahead:
    """Counts of one buffer. `window`: groups behind the oldest that may be looked at; 0 = strict order of admission."""

    def __init__(self, *, window: int, groups_per_step: int, max_lag: int) -> None:
        """max_lag [versions] must satisfy capacity <= (1 + max_lag) x groups_per_step for the buffer's capacity."""
        self.window = window
        self._per_step = groups_per_step
        self._max_lag = max_lag
        self._step = 0  # steps ended since the start
        self._taken = 0  # groups taken for the step under way
        self._due: Counter[int] = Counter()  # last step -> groups that are to be trained, as far as is known

    def admit(self) -> int:
        """Count one more group; its last step."""
        last_step = self._step + self._max_lag
        self._due[last_step] += 1
        return last_step

    def drop(self, last_step: int) -> None:
        """A group turned out not to be trainable."""
        self._due[last_step] -= 1

    def take(self, last_step: int) -> None:
        """A group goes into this step's batch."""
        self._due[last_step] -= 1
        self._taken += 1

    def give_up(self, count: int) -> None:
        """So many of this step's groups leave its batch again."""
        self._taken -= count

    def end_step(self) -> None:
        """The batch is trained, its version live."""
        del self._due[self._step]  # of a Counter: no error where nothing was due
        self._step += 1
        self._taken = 0

    def may_pass(self, last_step: int) -> bool:
        """Whether a group with this last step may be trained before all that are still unfinished."""
        due, places = 0, self._per_step - self._taken - 1
        for step in range(self._step, last_step):
            due += self._due[step]
            if due > places:
                return False
            places += self._per_step
        return True
