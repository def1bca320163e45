"""Wait until a Ray cluster has as many nodes as it should.

    python wait_for_nodes.py HOST:PORT COUNT [--limit SECONDS]

Says what is there while it waits. Ends with exit code 1 where the nodes have not joined within the limit.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

import ray

EVERY_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("count", type=int)
    parser.add_argument("--limit", type=float, default=300.0, help="longest wait [s] (default %(default)s)")
    args = parser.parse_args(argv)
    limit = time.monotonic() + args.limit
    ray.init(address=args.address, log_to_driver=False, logging_level=logging.ERROR)
    seen = -1
    while True:
        alive = [node for node in ray.nodes() if node["Alive"]]
        if len(alive) != seen:
            seen = len(alive)
            print(
                f"{seen} of {args.count} nodes: {', '.join(sorted(n['NodeManagerAddress'] for n in alive))}", flush=True
            )
        if seen >= args.count:
            return 0
        if time.monotonic() > limit:
            print(f"only {seen} of {args.count} nodes joined within {args.limit:g} s", file=sys.stderr)
            return 1
        time.sleep(EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
