"""How far off `fundus-ray plan` is: fit on one run, or on several together, predict others that it has not seen.

    python scripts/plan_accuracy.py RUN_DIR OTHER_RUN_DIR [OTHER_RUN_DIR ...] [--with RUN_DIR ...] [--take-lengths]

Of each other run its workers, ratio, window, groups a step and number of steps are taken, and nothing that was
measured, or with --take-lengths its response lengths alone. Whole runs are compared, first steps and last ones
included: trained groups a second, both idle shares, mean lag. The runs should be of one machine, with as much else
running on it, and of one policy and reward: a policy that has learned to write shorter chains is another system
(`tokens`: of a rollout).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_ray.errors import ConfigError, FundusRayError
from fundus_ray.obs.report_table import aligned
from fundus_ray.obs.run_record import RunRecord, lag_counts, read_run, time_weighted
from fundus_ray.plan.fit import fit
from fundus_ray.plan.service import Service
from fundus_ray.plan.simulate import simulate
from fundus_ray.plan.timed_run import TimedRun, read_timed_run

SEEDS = 3  # of each prediction: the median is taken
COLUMNS = ("run", "workers", "ratio", "tokens", "groups/s", "predicted", "error", "learner idle", "engines idle", "lag")


def main() -> int:
    """Print one row a run. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fitted", type=Path, metavar="RUN_DIR", help="the run to fit on")
    parser.add_argument(
        "--with", dest="more", type=Path, action="append", default=[], metavar="RUN_DIR", help="fit on this run as well"
    )
    parser.add_argument("others", type=Path, nargs="+", metavar="OTHER_RUN_DIR", help="runs to predict")
    parser.add_argument("--take-lengths", action="store_true", help="take each run's own response lengths")
    args = parser.parse_args()
    try:
        print(report([args.fitted, *args.more], args.others, take_lengths=args.take_lengths))
    except FundusRayError as err:
        print(f"plan_accuracy: error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


@dataclass(frozen=True, slots=True)
class Compared:
    """One run. `settings`: workers, ratio, groups a step, window, steps; runs that agree in these are repeats."""

    settings: tuple[float, ...]
    measured: float  # groups a second
    predicted: float
    cells: tuple[str, ...]

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def report(fitted: Sequence[Path], others: Sequence[Path], *, take_lengths: bool) -> str:
    """The table: the fitted runs, marked with *, then the others, then mean and largest error over the others, and the
    same over the medians of repeats. Raises ConfigError where a run is in both lists."""
    both = [path for path in others if path.resolve() in {own.resolve() for own in fitted}]
    if both:
        raise ConfigError(f"{both[0]} is fitted on; leave it out of the runs to predict")
    service = fit([read_timed_run(path) for path in fitted]).service
    compared = [compare(path, service, take_lengths=take_lengths) for path in (*fitted, *others)]
    names = [f"{path.name}{'*' if path in fitted else ''}" for path in (*fitted, *others)]
    lines = [aligned([COLUMNS, *((name, *one.cells) for name, one in zip(names, compared, strict=True))])]
    errors = [abs(one.error) for one in compared[len(fitted) :]]
    lines.append(f"* fitted on; of the others: mean |error| {statistics.mean(errors):.1%}, largest {max(errors):.1%}")
    lines += _said_of_repeats(compared[len(fitted) :])
    lines.append("idle shares and lag: measured / predicted")
    return "\n".join(lines)


def _said_of_repeats(others: Sequence[Compared]) -> list[str]:
    """Nothing where no run was repeated. No prediction can be nearer to single runs than they are to each other."""
    repeats = [[o for o in others if o.settings == settings] for settings in dict.fromkeys(o.settings for o in others)]
    if len(repeats) == len(others):
        return []
    rates = [[one.measured for one in same] for same in repeats]
    spread = max((max(same) - min(same)) / statistics.median(same) for same in rates)
    errors = [
        abs(statistics.median(one.predicted for one in same) / statistics.median(one.measured for one in same) - 1)
        for same in repeats
    ]
    return [
        f"of medians of repeats: mean |error| {statistics.mean(errors):.1%}, largest {max(errors):.1%}; repeats differ "
        f"by up to {spread:.1%} (largest - smallest, over the median)"
    ]


def compare(path: Path, service: Service, *, take_lengths: bool) -> Compared:
    """Measured and predicted of one run."""
    run, record = read_timed_run(path, most_steps=None), read_run(path)
    config = replace(run.config, loop=replace(run.config.loop, steps=len(run.update)))
    known = service.with_lengths(tuple(run.lengths.values())) if take_lengths else service
    outcomes = [simulate(config, known, seed=seed) for seed in range(SEEDS)]
    measured = measured_rate(run)
    predicted = statistics.median(out.groups_per_s for out in outcomes)
    lag = statistics.median(sum(lag * share for lag, share in out.lags.items()) for out in outcomes)
    loop, workers = config.loop, config.rollout.workers
    cells = (
        f"{workers}",
        f"{loop.async_ratio:g}",
        f"{statistics.mean(n for group in run.lengths.values() for n in group):.1f}",
        f"{measured:.3f}",
        f"{predicted:.3f}",
        f"{predicted / measured - 1:+.1%}",
        f"{_share(record, 'idle/learner')} / {statistics.median(o.learner_idle for o in outcomes):.0%}",
        f"{_share(record, 'idle/generator')} / {statistics.median(o.generator_idle for o in outcomes):.0%}",
        f"{_mean_lag(record):.2f} / {lag:.2f}",
    )
    settings = (workers, loop.async_ratio, loop.groups_per_step, loop.window, loop.steps)
    return Compared(settings=settings, measured=measured, predicted=predicted, cells=cells)


def measured_rate(run: TimedRun) -> float:
    """Trained groups a second, from the first wait to the last version's delivery."""
    return len(run.update) * run.config.loop.groups_per_step / (run.end_s - run.start_s)


def _share(record: RunRecord, name: str) -> str:
    value = time_weighted(record, name)
    return "-" if value is None else f"{value:.0%}"


def _mean_lag(record: RunRecord) -> float:
    counts = lag_counts(record)
    return sum(lag * count for lag, count in counts.items()) / max(1, sum(counts.values()))


if __name__ == "__main__":
    sys.exit(main())
