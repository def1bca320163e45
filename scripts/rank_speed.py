#!/usr/bin/env python
"""Two learner ranks against one on the same batches: tokens a second, and how far losses and adapters differ.

    python scripts/rank_speed.py [--readme] [--cores 0,1] [--updates 9] [--rollouts 256] [--lengths short long]

Each rank is a process with one thread on a core of its own; the one rank alone has the first of the two cores. All
stay alive and take turns, an update each, so that what else the machine does meets all of them; figures are medians
over the turns, the ratio of a turn's own two times. `sharded` is learner.shard=true. The network is the quickstart's
tiny one with random weights; chains as in scripts/learner_speed.py. Linux, torch, transformers, peft; neither vLLM nor
Ray, and no GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from learner_speed import GROUP_SIZE, LENGTHS, make_batch, make_policy
from readme_section import write_section

from fundus_ray.config import Config, load
from fundus_ray.cores import check_cores
from fundus_ray.errors import ConfigError
from fundus_ray.learner.batch import completion_tokens
from fundus_ray.learner.ranks import Ranks, come_to, listen
from fundus_ray.learner.worker import LearnerWorker
from fundus_ray.obs.report_table import table

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts/rank_speed.py"
LIMIT_S = 600.0  # longest wait for a process
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Way:
    """One learner: its ranks' ends of pipes, and what its updates gave."""

    pipes: Sequence[Connection]
    seconds: list[float]
    losses: list[float]

    def update(self) -> None:
        """One more on all ranks."""
        began = time.perf_counter()
        for pipe in self.pipes:
            pipe.send("update")
        losses = [float(_answer(pipe)) for pipe in self.pipes]
        self.seconds.append(time.perf_counter() - began)
        assert len(set(losses)) == 1, "a loss is of the whole batch, the same on every rank"
        self.losses.append(losses[0])

    def adapter(self) -> torch.Tensor:
        """All of it in one row."""
        self.pipes[0].send("adapter")
        return torch.from_numpy(_answer(self.pipes[0]))


def main() -> None:
    """Measure and print."""
    args = _arguments()
    load_at_start = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        make_policy(Path(scratch), "tiny")
        rows = [row for kind in args.lengths for row in compare(args, Path(scratch), kind)]
    said = (
        f"{args.rollouts} rollouts in groups of {GROUP_SIZE} an update, network tiny, one thread a rank, cores "
        f"{args.cores}; medians of {args.updates} updates in turn; load of the machine at the start "
        f"{load_at_start:.1f}. Losses and adapters after {args.updates + 1} updates from one start."
    )
    header = ("", "learner", "trained tokens/s", "speed, one rank = 1", "largest loss difference", "of a weight")
    text = f"{table(header, rows)}\n\n{said}"
    print(text)
    if args.readme:
        write_section(text, script=SCRIPT, root=ROOT)
        print("written to README.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="0,1", help="one a rank (default 0,1)")
    parser.add_argument("--updates", type=int, default=9, help="that are timed (default 9)")
    parser.add_argument("--rollouts", type=int, default=256, help="a multiple of 16 (default 256)")
    parser.add_argument("--lengths", nargs="+", choices=sorted(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--readme", action="store_true", help="also write the table into README.md")
    args = parser.parse_args()
    try:
        cores = check_cores(args.cores, key="--cores")
    except ConfigError as err:
        parser.error(str(err))
    if len(cores) != 2:
        parser.error(f"--cores={args.cores} must name two cores")
    if args.updates < 1 or args.rollouts < 2 * GROUP_SIZE or args.rollouts % (2 * GROUP_SIZE):
        parser.error(f"--updates must be >= 1 and --rollouts a multiple of {2 * GROUP_SIZE}")
    return args


def compare(args: argparse.Namespace, folder: Path, kind: str) -> Iterator[tuple[str, ...]]:
    """Cells of a row a way."""
    first = args.cores.replace("-", ",").split(",")[0]
    settings = {
        "one rank": ["learner.ranks=1", f"learner.cores='{first}'"],
        "two ranks": ["learner.ranks=2", f"learner.cores='{args.cores}'"],
        "two ranks, sharded": ["learner.ranks=2", "learner.shard=true", f"learner.cores='{args.cores}'"],
    }
    with _started(settings, folder=folder, kind=kind, rollouts=args.rollouts) as ways:
        for _ in range(args.updates + 1):  # the first, in which images are encoded, is not timed
            for way in ways.values():
                way.update()
        adapters = {name: way.adapter() for name, way in ways.items()}
    tokens, one = completion_tokens(make_batch(folder, kind, args.rollouts)), ways["one rank"]
    for name, way in ways.items():
        ratios = [alone / own for alone, own in zip(one.seconds[1:], way.seconds[1:], strict=True)]
        losses = [abs(alone - own) for alone, own in zip(one.losses, way.losses, strict=True)]
        weights = float((adapters[name] - adapters["one rank"]).abs().max())
        yield (
            LENGTHS[kind],
            name,
            f"{tokens / statistics.median(way.seconds[1:]):,.0f}",
            f"{statistics.median(ratios):.2f}",
            "-" if way is one else f"{max(losses):.1e}",
            "-" if way is one else f"{weights:.1e}",
        )


@contextmanager
def _started(settings: dict[str, list[str]], *, folder: Path, kind: str, rollouts: int) -> Iterator[dict[str, Way]]:
    """All learners, loaded; ended when the body ends."""
    context = multiprocessing.get_context("spawn")
    ways, processes, stores = {}, [], []
    try:
        for name, own in settings.items():
            config = load(None, ["learner.threads=1", "rollout.max_tokens=512", "rollout.max_model_len=1024", *own])
            stores.append(listen(HOST, ranks=config.learner.ranks, limit_s=LIMIT_S))
            pipes = []
            for rank in range(config.learner.ranks):
                here, there = context.Pipe()
                given = {"port": stores[-1].port, "folder": folder, "kind": kind, "rollouts": rollouts, "pipe": there}
                processes.append(context.Process(target=be_rank, args=(config, rank), kwargs=given, daemon=True))
                processes[-1].start()
                there.close()  # so that a rank that dies ends the wait for it
                pipes.append(here)
            ways[name] = Way(pipes, [], [])
        for way in ways.values():
            assert [_answer(pipe) for pipe in way.pipes] == ["ready"] * len(way.pipes)
        yield ways
    finally:
        for process in processes:
            process.kill()
            process.join()


def be_rank(config: Config, rank: int, *, port: int, folder: Path, kind: str, rollouts: int, pipe: Connection) -> None:
    """A rank in a process of its own, until it is killed: an update, or its adapter, as the pipe says."""
    ranks = None
    if (count := config.learner.ranks) > 1:
        store = come_to((HOST, port), ranks=count, limit_s=LIMIT_S)
        ranks = Ranks.join(store, rank=rank, count=count, device="cpu", own_address=HOST, limit_s=LIMIT_S)
    learner, batch = LearnerWorker(config, str(folder), "", ranks=ranks), make_batch(folder, kind, rollouts)
    pipe.send("ready")
    while True:
        if pipe.recv() == "update":
            pipe.send(learner.update(batch).metrics["loss"])
        else:
            pipe.send(torch.cat([p.detach().flatten() for p in learner._parameters]).numpy())


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(LIMIT_S):
        raise TimeoutError(f"a rank did not answer within {LIMIT_S:g} s")
    return pipe.recv()


if __name__ == "__main__":
    main()
