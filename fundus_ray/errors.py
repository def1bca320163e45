"""Errors a user can act on: one line each, no traceback needed. All of them survive pickling through Ray."""

from __future__ import annotations

from collections.abc import Mapping


class FundusRayError(Exception):
    """Base of the errors below; `exit_code` is what the command line ends with."""

    exit_code = 1


class ConfigError(FundusRayError):
    """A key or value that cannot work: names key, value, allowed range and remedy."""

    exit_code = 2


class DataError(FundusRayError):
    """A file or row that cannot be used: names the file and the line or row."""

    exit_code = 2


class SampleError(DataError):
    """One sample cannot be used, while others can: names the sample or its image."""


class ImagesError(DataError):
    """Images of a batch cannot be read: `reasons` by their place in the batch."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(dict(reasons))
        self.reasons = dict(reasons)

    def __str__(self) -> str:
        return "; ".join(self.reasons.values())


class WorkerDiedError(FundusRayError):
    """An actor died or stopped answering: names the actor, what it was doing, and its log file."""


class ProcessDiedError(WorkerDiedError):
    """The process behind an actor is gone: what it held is lost, and a new one may take its place."""


class NodeLeftError(ProcessDiedError):
    """A process is gone with its machine, which left the cluster: its place is asked for again on another one."""


class HungError(ProcessDiedError):
    """A process that is there and does nothing: it is killed, and counts as dead."""


class NoPlaceError(FundusRayError):
    """The cluster had no room for an actor for as long as was allowed: names the actor, what it asks for, and what each
    machine has."""


class DeliveryError(FundusRayError):
    """A policy version did not provably reach an engine: prints expected and found."""


class RanksDivergedError(FundusRayError):
    """The learner's ranks no longer hold the same adapter: names the rank and the tensor."""


class StalenessError(FundusRayError):
    """A sample older than the bound reached the learner: prints all the numbers."""


class StalledError(FundusRayError):
    """Everything answers, but no group could be trained on for too long: counts the dropped groups, by reason."""


class TimeLimitError(FundusRayError):
    """One request took longer than its limit, while others go on: names the limit."""
