"""What the loop itself costs: groups a second with scripted parts that compute nothing, as one Markdown table.

    python scripts/loop_cost.py [--workers 1 10 100 1000] [--groups 8000] [--repeats 3]

The real loop, buffer, engine pool, packing, metrics and spans run in one process; engines, reward and learner answer at
once. So a row's rate is the most that one driver could take, and its microseconds are what a group costs the driver,
Ray's own calls left out. Groups a step grow with the workers, as they do in a run. "CPU" is the process's own time,
which other programs on the machine hardly change; each figure is the median of the repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

from fundus_ray.config import Config
from fundus_ray.crew import Care
from fundus_ray.engine_pool import RolloutPool
from fundus_ray.loop import Parts, Position, Published, deliver, train
from fundus_ray.obs.report_table import table
from fundus_ray.obs.trace import Trace
from fundus_ray.quarantine import Quarantine
from fundus_ray.types import (
    DeliveryProof,
    ImageRef,
    Modality,
    PolicyVersion,
    Prompt,
    Pulse,
    RewardStatus,
    Rollout,
    RolloutGroup,
    Sample,
    Sampling,
    ScoredGroup,
    ScoredRollout,
    StepResult,
    TrainBatch,
)

GROUP_SIZE, TOKENS, PROMPT_TOKENS = 8, 64, 80
GROUPS_A_STEP_AND_WORKER = 4
SMALLEST_STEP = 32
SAMPLE = Sample(
    id="s",
    image=ImageRef(path="s.png", sha256="0", width_px=28, height_px=28),
    modality=Modality.CFP,
    question="?",
    options=("a", "b"),
    answer=("a",),
    task="diagnosis",
    source="scripted",
    split="train",
    patient_id="p",
)


class Engine:
    """Writes a group between two turns of the event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rollouts: tuple[Rollout, ...] = ()

    async def placed(self) -> None:
        """It needs no place."""

    async def start(self) -> None:
        """Nothing to load."""

    async def pulse(self) -> Pulse:
        """It lives."""
        return Pulse()

    async def take(self, published: Published) -> DeliveryProof:
        """The proof alone."""
        return DeliveryProof(self.name, published.version, published.version.sha256, True, 0.0, None, seconds=0.0)

    async def serve(self, version: PolicyVersion) -> None:
        """The same tokens under a new name."""
        ids, logprobs = (7,) * TOKENS, (-0.5,) * TOKENS
        self._rollouts = tuple(Rollout(ids, logprobs, "", "stop", seed, version) for seed in range(GROUP_SIZE))

    async def generate(self, prompt: Prompt, sampling: Sampling) -> RolloutGroup:
        """The scripted rollouts."""
        await asyncio.sleep(0)
        return RolloutGroup(prompt, (1,) * PROMPT_TOKENS, self._rollouts, self.name, 0.0, 0.0)

    async def sleep(self) -> None:
        """It has no GPU."""

    async def wake(self) -> None:
        """It has no GPU."""

    async def close(self, *, limit_s: float) -> None:
        """Nothing to stop."""

    def again(self) -> Engine:
        """A new one."""
        return Engine(self.name)


class Reward:
    """Every other rollout is right."""

    async def score(self, group: RolloutGroup) -> ScoredGroup:
        """The group with its scripted scores."""
        await asyncio.sleep(0)
        scored = tuple(
            ScoredRollout(
                rollout, RewardStatus.SCORED, float(i % 2), {"accuracy": float(i % 2)}, None, (), (), (), (), ""
            )
            for i, rollout in enumerate(group.rollouts)
        )
        return ScoredGroup(group, scored, True, "", 0.0, 0.0)


class Learner:
    """Counts."""

    def __init__(self) -> None:
        self._step = 0

    async def update(self, batch: TrainBatch) -> StepResult:
        """The next version."""
        self._step += 1
        return StepResult(step=self._step, seconds=0.0)

    async def publish(self) -> Published:
        """Its name."""
        return Published(PolicyVersion(step=self._step, sha256=f"hash-{self._step}"), payload=None)


class Nobody:
    """An observer that keeps nothing."""

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """Not kept."""

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """Not kept."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000], help="logical rollout workers")
    parser.add_argument("--groups", type=int, default=8000, help="groups of each run, at least two steps")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each row")
    args = parser.parse_args()
    if min([*args.workers, args.groups, args.repeats]) < 1:
        parser.error("--workers, --groups and --repeats must be >= 1")
    rows = []
    for workers in args.workers:
        config = settings(workers, groups=args.groups)
        runs = [measure(config) for _ in range(args.repeats)]
        rate, cpu_us = (statistics.median(figures) for figures in zip(*runs, strict=True))
        rows.append((workers, config.loop.groups_per_step, config.buffer_capacity, f"{rate:,.0f}", f"{cpu_us:,.0f}"))
    print(table(("workers", "groups a step", "slots", "groups a second", "CPU microseconds a group"), rows))
    shown = f"groups of {GROUP_SIZE} rollouts of {TOKENS} tokens, async_ratio 1"
    print(f"\n{shown}; load of the machine {os.getloadavg()[0]:.1f}.")


def settings(workers: int, *, groups: int) -> Config:
    """A run of about so many groups."""
    config, a_step = Config(), max(SMALLEST_STEP, GROUPS_A_STEP_AND_WORKER * workers)
    loop = replace(config.loop, groups_per_step=a_step, steps=max(2, groups // a_step), checkpoint_every=0)
    return replace(config, loop=loop, rollout=replace(config.rollout, workers=workers))


def measure(config: Config) -> tuple[float, float]:
    """Groups a second, CPU microseconds a group."""
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(one_run(config))
    groups = config.loop.steps * config.loop.groups_per_step
    return groups / (time.perf_counter() - wall), (time.process_time() - cpu) / groups * 1e6


async def one_run(config: Config) -> None:
    """From the first delivery to the last update."""
    trace = Trace()
    pool = RolloutPool(
        [Engine(f"rollout-{i}") for i in range(config.rollout.workers)],
        sampling=Sampling(n=GROUP_SIZE, temperature=1.0, max_tokens=TOKENS),
        probe_tolerance=1e-3,
        care=Care(role="engine", setting="rollout.restarts", restarts=0),
        trace=trace,
    )
    parts = Parts(rollouts=pool, reward=Reward(), learner=Learner())

    async def checkpoint(_: Position) -> None:
        pass

    await deliver(parts, trace=trace)
    await train(
        config,
        parts=parts,
        prompt_at=lambda group_id: Prompt(SAMPLE, system="", user="", group_id=group_id, seed=0),
        trace=trace,
        observer=Nobody(),
        quarantine=Quarantine(limit=0, note=lambda *_: None),
        checkpoint=checkpoint,
        stop=asyncio.Event(),
        start=Position(),
    )


if __name__ == "__main__":
    main()
