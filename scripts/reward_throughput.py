"""How many rollouts a second reward actors score, as one Markdown table.

    python scripts/reward_throughput.py [--url http://HOST:9200] [--seconds 5] [--actors 1 2 4]

One worker in this process, with the embedded store and over HTTP, with an empty cache and with one that knows every
query; then pools of actors on a private Ray, embedded, warm. "A CPU second" counts the process's own CPU time, which
other programs on the machine do not change; for actors there is wall time only. Without --url the HTTP rows are
measured on the server that the tests use (package noida-db), which scans every document for every word: they say
nothing of a real cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from chain_groups import chain_group
from search_server import Server

from fundus_ray.actors import RewardActor
from fundus_ray.cluster import spawn
from fundus_ray.config import Config, KnowledgeConfig
from fundus_ray.crew import Care
from fundus_ray.knowledge.records import load_records
from fundus_ray.knowledge.store import BuiltStore, build_store
from fundus_ray.obs.report_table import table
from fundus_ray.obs.trace import Trace
from fundus_ray.places import Ask
from fundus_ray.reasoning.chain import compose
from fundus_ray.reward.worker import RewardWorker
from fundus_ray.reward_pool import RewardPool
from fundus_ray.types import Modality, RolloutGroup, ScoredGroup

GROUPS, GROUP_SIZE, TOKENS = 64, 8, 60
HTTP_GROUPS = 2  # the test server is slow
PATIENCE_S = 600.0
Row = tuple[str, str, float, float | None]  # what, cache, rollouts a second, a CPU second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an Elasticsearch cluster without security; default: a test server is started")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each warm measurement")
    parser.add_argument("--no-http", action="store_true", help="leave these rows out")
    parser.add_argument("--actors", type=int, nargs="*", default=[1, 2, 4], help="sizes of the pools on Ray")
    args = parser.parse_args()
    groups = make_groups(GROUPS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = Config()
        rows = asyncio.run(measure(config, groups, folder=folder, seconds=args.seconds, name="embedded"))
        if not args.no_http:
            url = args.url or own_server(stack, folder / "server")
            config = over_http(url)
            some = groups if args.url else groups[:HTTP_GROUPS]
            rows += asyncio.run(measure(config, some, folder=folder, seconds=args.seconds, name="over HTTP"))
        rows += [pool_row(n, groups, folder=folder, seconds=args.seconds) for n in args.actors]
    shown = [(what, cache, f"{rate:,.0f}", "-" if cpu is None else f"{cpu:,.0f}") for what, cache, rate, cpu in rows]
    print(table(("worker", "cache", "rollouts a second", "a CPU second"), shown))
    print(f"\n{GROUPS} groups of {GROUP_SIZE} chains, 1 to 4 findings and a reason each. {machine()}")


def make_groups(count: int) -> list[RolloutGroup]:
    """Chains of different findings and answers, seeded."""
    draw, records = random.Random(0), load_records()
    labels = sorted(label for label, modality in records.by_key if modality is Modality.CFP)
    findings = sorted(records.vocabulary.findings.values(), key=lambda finding: finding.id)
    groups = []
    for number in range(count):
        options = draw.sample(labels, 4)
        on_image = [finding.id for finding in draw.sample(findings, 2)]
        texts = []
        for _ in range(GROUP_SIZE):
            named, chosen = draw.sample(findings, draw.randint(1, 4)), draw.randrange(4)
            reason = f"{named[0].name.capitalize()} indicate {options[chosen]}."
            names = [finding.name for finding in named]
            letter = "ABCD"[chosen]
            texts.append(compose(findings=names, reasons=[reason], conclusion=options[chosen], letters=[letter]))
        groups.append(chain_group(number, texts, options=options, answer=options[0], findings=on_image, tokens=TOKENS))
    return groups


async def measure(
    config: Config, groups: Sequence[RolloutGroup], *, folder: Path, seconds: float, name: str
) -> list[Row]:
    """One worker in this process: the first pass over the groups is cold, all later ones are warm."""
    worker = RewardWorker(config, await built(config, folder))
    await worker.start()
    try:
        cold = await passes(worker, groups, seconds=0.0)
        warm = await passes(worker, groups, seconds=seconds)
    finally:
        await worker.close()
    return [(f"one worker, {name}", cache, *rates) for cache, rates in (("cold", cold), ("warm", warm))]


async def passes(
    worker: RewardWorker | RewardPool, groups: Sequence[RolloutGroup], *, seconds: float
) -> tuple[float, float]:
    """Rollouts a second of wall time and of this process's CPU time, over whole passes for at least `seconds`."""
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while True:
        scored = await asyncio.gather(*(worker.score(group) for group in groups))
        check(scored)
        done += sum(len(group.scored) for group in scored)
        if time.perf_counter() - wall >= seconds:
            return done / (time.perf_counter() - wall), done / (time.process_time() - cpu)


def check(scored: Sequence[ScoredGroup]) -> None:
    """A rate of groups that were not scored would be no rate."""
    lost = [group for group in scored if group.cost.outage]
    if lost:
        raise SystemExit(f"{len(lost)} groups could not be scored: {lost[0].scored[0].explanation[0]}")


def pool_row(actors: int, groups: Sequence[RolloutGroup], *, folder: Path, seconds: float) -> Row:
    """A pool on a private Ray."""
    import ray

    ray.init(address="local", num_cpus=max(actors, 1), include_dashboard=False, log_to_driver=False)
    try:
        return (f"{actors} on Ray, embedded", "warm", asyncio.run(pool_rate(actors, groups, folder, seconds)), None)
    finally:
        ray.shutdown()


async def pool_rate(actors: int, groups: Sequence[RolloutGroup], folder: Path, seconds: float) -> float:
    """Rollouts a second, once every actor knows every query."""
    config = Config()
    store = await built(config, folder)
    makes = [
        partial(spawn, Ask(f"reward-{i}", 1.0, 0.0), RewardWorker, config, store, threads=1) for i in range(actors)
    ]
    workers = [RewardActor(make, start_limit_s=PATIENCE_S, limit_s=PATIENCE_S) for make in makes]
    care = Care(role="reward", setting="reward.restarts", restarts=0)
    for worker in workers:
        await worker.start()
        await passes(RewardPool([worker], care=care, trace=Trace()), groups, seconds=0.0)
    return (await passes(RewardPool(workers, care=care, trace=Trace()), groups, seconds=seconds))[0]


def over_http(url: str) -> Config:
    """Settings for a server that may be slow."""
    config = Config()
    config.knowledge = KnowledgeConfig(store="elasticsearch", url=url, index="fundus-ray-throughput")
    config.knowledge.timeout_s = PATIENCE_S
    config.reward = dataclasses.replace(config.reward, timeout_s=PATIENCE_S)
    return config


async def built(config: Config, folder: Path) -> BuiltStore:
    """The store, built."""
    store = await build_store(config.knowledge, folder=folder)
    await store.close()
    return BuiltStore(folder=folder, snapshot=store.snapshot)


def own_server(stack: ExitStack, folder: Path) -> str:
    """The address of a test server that lives as long as the stack."""
    folder.mkdir()
    server = Server(folder)
    stack.callback(server.stop)
    server.wait()
    return server.url


def machine() -> str:
    """What it was measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    load = os.getloadavg()[0]
    return f"Machine: {os.cpu_count()} cores, {name}, Python {platform.python_version()}, load {load:.1f}."


if __name__ == "__main__":
    main()
