"""Stop the jobs of the Ray on this machine in order: each may finish its update and write a checkpoint.

    python stop_jobs.py [--limit SECONDS]

For what ends a head beforehand: a pod's preStop hook, a spot machine's notice. Ends with exit code 1 where a job still
runs after the limit. Ray itself waits for RAY_JOB_STOP_WAIT_TIME_S (3 s, if the head was not told otherwise) before it
kills a job.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from ray.job_submission import JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"


def main(argv: Sequence[str] | None = None) -> int:
    """Ask all, then wait for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default=DASHBOARD, help="of the dashboard (default %(default)s)")
    parser.add_argument("--limit", type=float, default=600.0, help="longest wait [s] (default %(default)s)")
    args = parser.parse_args(argv)
    return stop_all(JobSubmissionClient(args.address), limit_s=args.limit)


def stop_all(client: JobSubmissionClient, *, limit_s: float) -> int:
    """The exit code."""
    limit = time.monotonic() + limit_s
    running = [job.submission_id for job in client.list_jobs() if job.submission_id and not job.status.is_terminal()]
    for name in running:
        print(f"asking {name} to stop", flush=True)
        client.stop_job(name)
    while running and time.monotonic() < limit:
        time.sleep(1.0)
        running = [name for name in running if not client.get_job_status(name).is_terminal()]
    if running:
        print(f"still running after {limit_s:g} s: {', '.join(running)}", file=sys.stderr)
    return int(bool(running))


if __name__ == "__main__":
    sys.exit(main())
