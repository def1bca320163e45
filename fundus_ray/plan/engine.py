"""A rollout engine as a queueing server: continuous batching, as vLLM does it, in a few numbers.

In: requests (the response lengths of a group) with their times of arrival. Out: when each is done. Pure state, no
clock of its own and no asyncio: whoever drives it says what time it is.

The model, our own. Sequences wait in order of arrival until fewer than `max_seqs` run. With n running, one iteration
gives each of them one token and takes `iteration_s + sequence_s * n` seconds, so tokens/s(n) = n / (iteration_s +
sequence_s * n). A group's prompt is read once, when its first sequence starts, and holds up the whole engine for
`prompt_s`. Before one iteration at most `prompts_at_once` are read, as vLLM's max_num_batched_tokens has it: of many
that come together the first answer while the last wait, and what ran before goes on, slowly. All running sequences
move at the same pace, so a sequence of L tokens that starts at iteration i ends at iteration i + L: one heap of ends is
all that has to be kept.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

ALL_AT_ONCE = 10**9  # prompts
SLACK_S = 1e-7  # an end this near is now: a clock's rounding must not bring a timer back for ever


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """What an engine takes [s]: an iteration, each sequence running in it, and the reading of each prompt; and how many
    prompts it reads before one iteration."""

    iteration_s: float
    sequence_s: float
    prompt_s: float
    prompts_at_once: int = ALL_AT_ONCE

    def times(self, factor: float) -> EngineSpeed:
        """An engine that takes `factor` times as long for all of it."""
        return replace(
            self,
            iteration_s=factor * self.iteration_s,
            sequence_s=factor * self.sequence_s,
            prompt_s=factor * self.prompt_s,
        )

    def tokens_per_s(self, running: int) -> float:
        """Tokens a second with that many sequences running and no prompt to read."""
        return running / (self.iteration_s + self.sequence_s * running)


class EngineServer:
    """One engine. `arrive`, `advance` and `set_pace` take times that never go back."""

    def __init__(self, speed: EngineSpeed, *, max_seqs: int, warm_up_s: float = 0.0) -> None:
        """warm_up_s: what comes before the first prompt is read."""
        self._speed = speed
        self._max_seqs = max_seqs
        self._now_s = 0.0
        self._pace = 1.0
        self._iteration = 0.0
        self._prompts_s = warm_up_s  # of reading that is due before the next iteration
        self._running: list[tuple[float, int]] = []  # heap of (iteration at its end, request)
        self._waiting: deque[tuple[int, int]] = deque()  # (request, tokens)
        self._open: dict[int, int] = {}  # request -> sequences that have not ended
        self._unread: set[int] = set()  # requests whose prompt has not been read
        self._read = 0  # prompts before the iteration under way
        self._read_again = 0.0  # the iteration before which others may be read
        self._done: list[tuple[int, float]] = []

    def arrive(self, request: int, lengths: Sequence[int], *, at_s: float) -> None:
        """A request for one sequence of each length [tokens]. `request` is its number, unique among the open ones."""
        self.run_to(at_s)
        self._open[request] = len(lengths)
        self._unread.add(request)
        self._waiting.extend((request, length) for length in lengths)
        self._admit()

    def advance(self, *, to_s: float) -> list[tuple[int, float]]:
        """Run on to this time. Returns the requests that were done since the last call, with the time of each."""
        self.run_to(to_s)
        done, self._done = self._done, []
        return done

    def set_pace(self, pace: float, *, at_s: float) -> None:
        """From now on everything runs at this multiple of its normal speed."""
        self.run_to(at_s)
        self._pace = pace

    def next_s(self) -> float | None:
        """When the next request is done if nothing changes before; None where nothing runs.

        Found by running a copy ahead: its caller needs one timer for a request instead of one for each sequence.
        """
        if self._done:
            return self._now_s
        ahead = self._copy()
        while ahead._running and not ahead._done:
            ahead._to_next_stop()
        return ahead._now_s if ahead._done else None

    def run_to(self, to_s: float) -> None:
        """Let time pass."""
        while self._running:
            work = max(0.0, to_s - self._now_s) * self._pace  # that can be done until then, in seconds at normal speed
            if work < self._prompts_s + self._work_to_next_stop() - SLACK_S:
                self._work(work)
                break
            self._to_next_stop()
        self._now_s = max(self._now_s, to_s)

    def _to_next_stop(self) -> None:
        self._now_s += (self._prompts_s + self._work_to_next_stop()) / self._pace
        self._prompts_s = 0.0
        self._iteration = self._next_stop()
        self._end_some()
        self._admit()

    def _next_stop(self) -> float:
        """The iteration at which a sequence ends, or before which prompts that wait can be read."""
        end = self._running[0][0]
        return min(end, self._read_again) if self._holds_back() else end

    def _holds_back(self) -> bool:
        return bool(self._waiting) and self._read >= self._speed.prompts_at_once and self._iteration < self._read_again

    def _work_to_next_stop(self) -> float:
        return (self._next_stop() - self._iteration) * self._iteration_s()

    def _iteration_s(self) -> float:
        return self._speed.iteration_s + self._speed.sequence_s * len(self._running)

    def _work(self, work: float) -> None:
        reading = min(work, self._prompts_s)
        self._prompts_s -= reading
        self._iteration += (work - reading) / self._iteration_s()

    def _end_some(self) -> None:
        while self._running and self._running[0][0] <= self._iteration:
            _, request = heapq.heappop(self._running)
            self._open[request] -= 1
            if not self._open[request]:
                del self._open[request]
                self._done.append((request, self._now_s))

    def _copy(self) -> EngineServer:
        other = EngineServer(self._speed, max_seqs=self._max_seqs)
        other._now_s, other._pace = self._now_s, self._pace
        other._iteration, other._prompts_s = self._iteration, self._prompts_s
        other._running, other._waiting = self._running.copy(), self._waiting.copy()
        other._open, other._unread = self._open.copy(), self._unread.copy()
        other._read, other._read_again = self._read, self._read_again
        return other

    def _admit(self) -> None:
        if self._iteration >= self._read_again:
            self._read = 0
        while self._waiting and len(self._running) < self._max_seqs:
            request, tokens = self._waiting[0]
            if request in self._unread:
                if self._read >= self._speed.prompts_at_once:
                    return
                if not self._read:
                    self._read_again = self._iteration + 1
                self._read += 1
                self._unread.discard(request)
                self._prompts_s += self._speed.prompt_s
            self._waiting.popleft()
            heapq.heappush(self._running, (self._iteration + tokens, request))
