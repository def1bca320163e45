"""From labelled images to policy version 0, stage by stage; each is kept in the cache and made once.

    traces.reader -> the generic model -> a trace of each training sample, kept or not -> warm start -> version 0

In: a checked configuration and the training samples. Out: `FirstPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fundus_ray.config import Config
from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import Records
from fundus_ray.sft.warm_start import warm_start
from fundus_ray.traces.filter import KEPT, verdict_table
from fundus_ray.types import Sample
from fundus_ray.write_traces import read_all, reader_model

Stage = Callable[[str, str], AbstractContextManager[None]]  # name and what is done -> times it


@dataclass(frozen=True, slots=True)
class FirstPolicy:
    """Version 0's base weights, and the traces that it learned from where a model wrote them."""

    model_path: Path
    traces: Path | None = None
    verdicts: dict[str, int] = field(default_factory=dict)  # "kept" or the reason against it -> traces


def first_policy(
    config: Config, samples: Sequence[Sample], *, records: Records, cache_dir: Path, stage: Stage
) -> FirstPolicy:
    """Make it, or find it made. Raises ConfigError, DataError, WorkerDiedError, SearchError as its stages do."""
    idle = idle_reader(config)
    if idle:
        print(f"== {idle}", flush=True)
    writes = config.traces.reader and not idle
    reader, traces, verdicts = None, None, {}
    if writes or config.policy.path == "reader":
        with stage("reader", "the generic model that names findings"):
            reader = reader_model(config, records=records, cache_dir=cache_dir)
    if writes and reader is not None:
        with stage("traces", "it reads the training images; knowledge links what it saw to their labels"):
            folder = read_all(config, samples, reader=reader, records=records, cache_dir=cache_dir)
            traces, verdicts = folder.path, folder.counts()
            print(verdict_table(verdicts), flush=True)
            if not verdicts.get(KEPT):
                raise DataError(
                    f"traces.reader={config.traces.reader}: none of its {len(samples)} traces passes the filter (they "
                    f"are in {traces}); take a better reader, or give the labels records (knowledge.records_dir)"
                )
        config = replace(config, sft=replace(config.sft, traces=str(traces)))
    doing = f"warm start on {config.sft.target}" if config.sft.steps else "policy.path as it is"
    with stage("sft", f"policy version 0: {doing}"):
        model_path = warm_start(config, samples, records=records, cache_dir=cache_dir, reader=reader)
    return FirstPolicy(model_path=model_path, traces=traces, verdicts=verdicts)


def idle_reader(config: Config) -> str:
    """Why traces.reader is set and yet writes no traces, in one line; "" where it writes some or is not set.

    No rule of the configuration: `fundus-ray traces generate` writes traces by the same recipe.
    """
    sft, reader = config.sft, config.traces.reader
    if not sft.steps:
        why = "sft.steps=0 learns from none"
    elif sft.target == "answers":
        why = "sft.target=answers learns no chain"
    else:
        why = f"sft.traces={sft.traces} is learned from" if sft.traces else ""
    if not reader or not why:
        return ""
    if config.policy.path == "reader":
        return f"traces: none is written, as {why}; traces.reader={reader} is only what the policy starts from"
    return f"traces: none is written, as {why}; traces.reader={reader} and all other traces.* have no effect"
