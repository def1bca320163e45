"""A job of a Ray cluster followed to its end: its log as it is written, through lost connections.

In: a client of the cluster, a job's id. Out: the log, and how the job ended. Nothing waits for ever: a job that is
silent is asked for its state, so that one which is gone is seen to be gone, and a cluster that does not answer has
LOST_S. (A job that hangs ends by its own limits.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from fundus_ray.connecting import explain_connection, one_line
from fundus_ray.errors import FundusRayError

QUIET_S = 20.0  # without a line for so long, the job's state is asked for
RENEW_S = 120.0  # without a line for so long, the connection may be dead on one side only, and is made anew
LOST_S, LOST_PAUSE_S = 300.0, 5.0  # longest time without any answer
STOPPED = 130
NOT_FOUND = 127  # the shell's
CAUSE = "fundus-ray: error: "
FAILED_REQUEST = (requests.RequestException, ConnectionError, AuthenticationError, RuntimeError, aiohttp.ClientError)


class JobEndedError(FundusRayError):
    """The job did not succeed: its exit code, and the last error of its log."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        return JobEndedError, (str(self), self.exit_code)


def follow(
    client: JobSubmissionClient, job_id: str, *, write: Callable[[str], None], say: Callable[[str], None]
) -> None:
    """The job's log from its start, as it is written, until the job has ended. Returns where it succeeded. Raises
    JobEndedError where it failed or was stopped, and where the cluster has not answered for LOST_S."""
    log = _Log(write)
    info = asyncio.run(_Follower(client, job_id, log, say).run())
    log.finish()
    if info.status == JobStatus.SUCCEEDED:
        return
    if info.status == JobStatus.STOPPED:
        raise JobEndedError(f"job {job_id} was stopped; where it stands is said above", STOPPED)
    code = info.driver_exit_code
    if code == NOT_FOUND:
        raise JobEndedError(
            f"job {job_id}: the cluster's head has no fundus-ray on its PATH; install it there and activate its "
            "environment before `ray start`",
            1,
        )
    known = "failed" if code is None else f"failed with exit code {code}"
    exit_code = 1 if not code else code if code > 0 else 128 - code
    raise JobEndedError(f"job {job_id} {known}: {log.cause or _last_line(info.message or '')}", exit_code)


class _Log:
    """What was written of the job's log, and the last error in it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._seen = 0  # characters
        self._line = ""
        self._last, self._error = "", ""

    @property
    def cause(self) -> str:
        """The last error of fundus-ray, or else the last line."""
        return self._error or self._last

    def add(self, at: int, text: str) -> None:
        """`text` stands `at` this character of the log; what was written already is not written again."""
        new = text[max(0, self._seen - at) :]
        if not new:
            return
        self._seen = at + len(text)
        self._write(new)
        *lines, self._line = (self._line + new).split("\n")
        for line in filter(str.strip, lines):
            self._last = line.strip()
            if line.startswith(CAUSE):
                self._error = line.removeprefix(CAUSE).strip()

    def finish(self) -> None:
        """The last line may have no end."""
        if self._line:
            self.add(self._seen, "\n")


class _Follower:
    """Reads a job's log until the job has ended, through lost connections."""

    def __init__(self, client: JobSubmissionClient, job_id: str, log: _Log, say: Callable[[str], None]) -> None:
        self._client, self._job_id, self._log, self._say = client, job_id, log, say
        self._answered_s, self._lost = time.monotonic(), False

    async def run(self) -> Any:
        """Ray's account of the job when it has ended. Raises JobEndedError where the cluster is gone."""
        while True:
            try:
                whole = await self._read_log()
                info = await self._info()
                if info.status.is_terminal():
                    if not whole:
                        self._log.add(0, await asyncio.to_thread(self._client.get_job_logs, self._job_id))
                    return info
                await asyncio.sleep(1.0)
            except (*FAILED_REQUEST, OSError, TimeoutError) as err:
                self._refuse_if_gone(err, silent_s=time.monotonic() - self._answered_s)
                if not self._lost:
                    self._say(f"lost the connection to the cluster ({one_line(err)}); trying for up to {LOST_S:g} s")
                self._lost = True
                await asyncio.sleep(LOST_PAUSE_S)

    async def _read_log(self) -> bool:
        """From its start. Returns whether its end was reached, where not, nothing came for long."""
        tail = self._client.tail_job_logs(self._job_id)
        at, quiet_s = 0, 0.0
        chunk = asyncio.ensure_future(anext(tail, None))
        try:
            while True:
                if not (await asyncio.wait({chunk}, timeout=QUIET_S))[0]:
                    quiet_s += QUIET_S
                    if (await self._info()).status.is_terminal() or quiet_s >= RENEW_S:
                        return False
                    continue
                text = chunk.result()
                if text is None:
                    return True
                self._log.add(at, text)
                self._answered()
                at, quiet_s = at + len(text), 0.0
                chunk = asyncio.ensure_future(anext(tail, None))
        finally:
            chunk.cancel()
            await asyncio.gather(chunk, return_exceptions=True)
            await tail.aclose()

    async def _info(self) -> Any:
        info = await asyncio.to_thread(self._client.get_job_info, self._job_id)
        self._answered()
        return info

    def _answered(self) -> None:
        self._answered_s, self._lost = time.monotonic(), False

    def _refuse_if_gone(self, err: BaseException, *, silent_s: float) -> None:
        if "does not exist" in str(err):
            raise JobEndedError(f"the cluster does not know job {self._job_id} any more: its head is a new one", 1)
        if isinstance(err, AuthenticationError):
            raise JobEndedError(f"job {self._job_id} cannot be followed: {explain_connection(err)}", 1)
        if silent_s > LOST_S:
            raise JobEndedError(
                f"the cluster has not answered for {silent_s:.0f} s ({one_line(err)}); job {self._job_id} may go on "
                "without being followed: `ray job status` tells once its head answers again",
                1,
            )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "Ray gives no reason"
