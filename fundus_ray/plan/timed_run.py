"""The times of a run, read from its folder.

In: trace.json (obs/trace.py), rollouts/ and config.yaml (obs/sinks.py). Out: `TimedRun`, of the last steps or of all.
Of a run that was resumed the longest stretch is read; evaluations before and after are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fundus_ray.config import Config, load
from fundus_ray.errors import DataError
from fundus_ray.obs.step_times import mean_busy
from fundus_ray.obs.strict_json import read_json, read_lines
from fundus_ray.obs.trace import Span

MOST_STEPS = 60
LEAST_STEPS = 4
PLANNED = (  # settings that a plan takes from a run, or from the command line
    "loop.groups_per_step",
    "loop.window",
    "rollout.group_size",
    "rollout.max_tokens",
    "rollout.max_model_len",
    "rollout.max_seqs",
    "rollout.gpus",
    "reward.workers",
    "learner.gpus",
)
# Only these, so that a folder written by another version of this package can be read.
KEYS = (*PLANNED, "rollout.workers", "loop.steps", "loop.checkpoint_every")
# A plan varies the ratio. Settings are loaded with this one, as a run at ratio 0 may state a window all the same.
SOME_RATIO = "loop.async_ratio=1"


@dataclass(frozen=True, slots=True)
class TimedRun:
    """Spans of the steps [first, last], each list in order of start, and the lengths of the groups they wrote.

    `generate` and `score` also hold what was under way when the first of these steps began.
    """

    config: Config
    settings: tuple[str, ...]  # what the configuration was made of, but for the ratio: section.key=value
    generate: Sequence[Span]
    score: Sequence[Span]
    wait_group: Sequence[Span]  # [step]
    update: Sequence[Span]  # [step]
    publish: Sequence[Span]
    deliver: Sequence[Span]  # [step]
    lengths: dict[int, tuple[int, ...]]  # by group id: response tokens of each rollout
    dropped: int  # of these groups
    has_start: bool  # the first of these steps is the first of the run, or after a resume

    @property
    def start_s(self) -> float:
        """When the first step began."""
        return self.wait_group[0].start_s

    @property
    def end_s(self) -> float:
        """When the last step's version was live."""
        return self.deliver[-1].end_s

    def busy_share(self, span: Span) -> float:
        """Mean over the engines of the share of the span in which one had work."""
        inside = [
            Span(s.name, max(s.start_s, span.start_s), min(s.end_s, span.end_s), s.ids)
            for s in self.generate
            if s.end_s > span.start_s and s.start_s < span.end_s
        ]
        length = span.end_s - span.start_s
        return mean_busy(inside, workers=self.config.rollout.workers) / length if length > 0 else 0.0


def read_timed_run(run_dir: Path, *, most_steps: int | None = MOST_STEPS) -> TimedRun:
    """Read the last `most_steps` steps, or all, of the run in this folder. Raises DataError naming what is missing or
    too little."""
    traces = sorted(run_dir.glob("trace*.json"))
    if not traces or not (run_dir / "config.yaml").is_file():
        missing = "config.yaml" if traces else "trace.json; it is written when `fundus-ray train` ends"
        raise DataError(f"{run_dir} is not the folder of a run that has ended: it has no {missing}")
    stretches = [_spans(path) for path in traces]
    spans = max(stretches, key=lambda by_name: len(by_name["update"]))
    updates = spans["update"] if most_steps is None else spans["update"][-most_steps:]
    if len(updates) < LEAST_STEPS:
        raise DataError(f"{run_dir} has {len(updates)} timed learner steps; at least {LEAST_STEPS} are needed")
    steps = [int(span.ids["step"]) for span in updates]
    per_step = {name: _of_steps(spans[name], steps, name=name, run_dir=run_dir) for name in ("wait_group", "update")}
    delivers = _of_steps(spans["deliver"], [step + 1 for step in steps], name="deliver", run_dir=run_dir)
    publishes = [next((p for p in reversed(spans["publish"]) if p.end_s <= d.start_s), None) for d in delivers]
    start, end = per_step["wait_group"][0].start_s, delivers[-1].end_s
    lengths, dropped = _lengths(run_dir, [step + 1 for step in steps])
    settings, ratio = _settings(run_dir / "config.yaml")
    config = load(None, [*settings, SOME_RATIO])
    return TimedRun(
        config=replace(config, loop=replace(config.loop, async_ratio=ratio)),
        settings=settings,
        generate=[s for s in spans["generate"] if s.start_s < end and s.end_s > start],
        score=[s for s in spans["score"] if s.start_s < end and s.end_s > start],
        publish=[span for span in publishes if span is not None],
        deliver=delivers,
        lengths=lengths,
        dropped=dropped,
        has_start=len(updates) == len(spans["update"]),
        **per_step,
    )


def _spans(path: Path) -> dict[str, list[Span]]:
    """By name, each list in order of start [s]."""
    content = read_json(path)
    by_name: dict[str, list[Span]] = defaultdict(list)
    try:
        for event in content["traceEvents"]:
            if event["ph"] == "X":
                start = event["ts"] / 1e6
                by_name[event["name"]].append(Span(event["name"], start, start + event["dur"] / 1e6, event["args"]))
    except (KeyError, TypeError) as err:
        raise DataError(f"{path} is not a trace of `fundus-ray train`: {type(err).__name__} {err}") from None
    for spans in by_name.values():
        spans.sort(key=lambda span: span.start_s)
    return by_name


def _of_steps(spans: Sequence[Span], steps: Sequence[int], *, name: str, run_dir: Path) -> list[Span]:
    by_step = {int(span.ids["step"]): span for span in spans}
    absent = [step for step in steps if step not in by_step]
    if absent:
        raise DataError(f"{run_dir}: the trace has no span {name} of step {absent[0]}; was the run cut short?")
    return [by_step[step] for step in steps]


def _lengths(run_dir: Path, versions: Sequence[int]) -> tuple[dict[int, tuple[int, ...]], int]:
    lengths: dict[int, list[int]] = defaultdict(list)
    dropped: set[int] = set()
    for version in versions:
        path = run_dir / "rollouts" / f"step-{version:06d}.jsonl"
        if not path.is_file():
            raise DataError(f"{path} does not exist: response lengths are read from it")
        for row in read_lines(path):
            try:
                lengths[row["group_id"]].append(max(1, int(row["tokens"])))
                if not row["trainable"]:
                    dropped.add(row["group_id"])
            except (KeyError, TypeError, ValueError) as err:
                raise DataError(f"{path}: a row lacks group_id, tokens or trainable: {err}") from None
    return {group: tuple(tokens) for group, tokens in lengths.items()}, len(dropped)


def _settings(path: Path) -> tuple[tuple[str, ...], float]:
    """(section.key=value of each of KEYS, the asynchronous ratio)."""
    try:
        tree: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings = tuple(f"{key}={tree[key.split('.')[0]][key.split('.')[1]]}" for key in KEYS)
        return settings, float(tree["loop"]["async_ratio"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as err:
        raise DataError(f"{path} cannot be read as a run's configuration: {' '.join(str(err).split())}") from None
