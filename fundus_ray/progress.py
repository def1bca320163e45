"""What the loop says of itself while it runs.

In: each step's metrics and groups. Out: the run folder, a line of progress and alarms on the screen, and on a cluster
gauges for Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from fundus_ray.bars import Bar
from fundus_ray.config import Config
from fundus_ray.obs.sinks import RunFolder
from fundus_ray.obs.strict_json import read_lines
from fundus_ray.reward.alarms import alarms
from fundus_ray.reward.rubric import weights
from fundus_ray.run_gauges import RunGauges
from fundus_ray.types import ScoredGroup

Metrics = Callable[[], dict[str, float]]


class Progress:
    """The loop's observer: to the run folder, one line of progress on the screen, and each alarm once."""

    def __init__(self, folder: RunFolder, config: Config, *, done: int, also: Metrics = dict) -> None:
        """done: updates before this process; `also` is asked at each step for metrics that the loop does not know."""
        self._folder = folder
        self._also = also
        reward = config.reward
        self._paid = [part for part, weight in weights(reward, with_plugin=bool(reward.plugin)).items() if weight]
        self._history = list(read_lines(folder.path / "metrics.jsonl"))  # a resumed run's earlier steps
        self._alarmed = {str(line["kind"]) for line in read_lines(folder.path / "alarms.jsonl")}
        # A private Ray has nobody who would scrape it.
        self._gauges = RunGauges(folder.path.name) if config.ray.address != "local" else None
        self._record, self._image_paths = config.run.record, config.run.image_paths
        self._bar = Bar(total=config.loop.steps, initial=done, desc="RLVR", unit="update")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """One step's metrics."""
        metrics = {**metrics, **self._also()}
        self._folder.log_step(step, metrics)
        if self._gauges:
            self._gauges.set(step, metrics)
        shown = {"reward": "reward/total", "accuracy": "reward/accuracy", "lag": "lag/mean", "tok/s": "tokens_per_s"}
        self._bar.set_postfix({k: f"{metrics[v]:.3g}" for k, v in shown.items() if v in metrics}, refresh=False)
        self._bar.update()
        self._history.append(metrics)
        for alarm in alarms(self._history, paid=self._paid):
            if alarm.kind not in self._alarmed:
                self._alarmed.add(alarm.kind)
                self._folder.log_alarm(step, kind=alarm.kind, text=alarm.text)
                tqdm.write(f"== alarm at update {step}, {alarm.kind}: {alarm.text}")

    def log_scored(self, step: int, groups: Sequence[ScoredGroup]) -> None:
        """All groups of the step."""
        self._folder.log_scored(step, groups, image_paths=self._image_paths)
        if self._record:
            self._folder.record(step, groups)


def say(text: str) -> None:
    """One line of a stage, beside any bar of progress."""
    tqdm.write(f"== {text}")


@contextmanager
def stage(folder: RunFolder, name: str, doing: str) -> Iterator[None]:
    """Say what the body does, and time it as a stage of the run."""
    say(f"{name}: {doing}")
    with folder.time_stage(name):
        yield
