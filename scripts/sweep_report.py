"""The asynchronous sweep's tables. In: finished runs, part by part. Out: async.md, and async.png beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from commit_name import commit_name
from paired_difference import Difference, check_paired, points
from sweep_experiment import Experiment, accuracy, cost, mean_lags, pooled, seeds_interval
from sweep_measures import LAST_REWARDS, Figures, last_reward
from sweep_picture import draw

from fundus_ray.obs.report_table import table
from fundus_ray.obs.run_record import read_run

SCRIPT = "scripts/sweep_async.sh"
PICTURE = Path("scripts/async.png")
STAGES = ("generate_s", "score_s", "update_s", "sync_s")
SHOWS = "reward and accuracy by ratio, speed-up beside its ceiling, staleness, idle shares"


def write_report(experiments: Sequence[Experiment], *, folder: Path) -> str:
    """Both files; returns the Markdown. Raises DataError where a run cannot be read, ValueError where two runs were not
    evaluated on the same samples."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(section for experiment in experiments for section in _sections(experiment))
    (folder / "async.md").write_text(text + "\n")
    draw(experiments, folder / PICTURE.name)
    return text


def _sections(experiment: Experiment) -> Iterable[str]:
    yield f"**{experiment.name}**: {_what_ran(experiment)}"
    yield _speed_table(experiment)
    yield _staleness_table(experiment)
    if experiment.befores:
        yield "Held-out accuracy after so many updates (seconds of training; evaluation is not counted):"
        yield _curve_table(experiment)
        yield (
            "Against ratio 0, in points on the same samples [95 %, paired bootstrap over samples]; of each seed. Bold "
            "only where every seed has the same sign too, as that interval knows nothing of how runs differ; the next "
            "one does (mean over seeds, Student's t)."
        )
        yield _cost_table(experiment)


def _what_ran(experiment: Experiment) -> str:
    runs, out = experiment.runs, experiment.left_out
    record = read_run(runs[0].folder)
    config, versions = record.config, record.versions
    loop, rollout, learner = config["loop"], config["rollout"], config["learner"]
    busy = [f.busy for f in experiment.figures.values() if f.busy is not None]
    machine = f"other work used {min(busy):.2f} to {max(busy):.2f} cores before a run began" if busy else "load unknown"
    commits = sorted({commit_name(read_run(run.folder).versions.get("git")) for run in runs})
    batch = f"{loop['groups_per_step']} x {rollout['group_size']} rollouts of at most {rollout['max_tokens']} tokens"
    optimizer = f"{learner['updates_per_batch']} optimizer step{'s' if learner['updates_per_batch'] > 1 else ''} each"
    cores = f"engine on core {rollout['cores'] or 'any'}, learner on core {learner['cores'] or 'any'}"
    return (
        f"{len(runs)} runs of {loop['steps']} updates of {batch}, {optimizer}, "
        f"learning rate {learner['learning_rate']:g}, learner.kl {learner['kl']:g}; {cores}; "
        f"{versions.get('cpu_count')} CPUs, {machine}; commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}. "
        f"The first {out.first} and the last {out.last} updates are not measured: engines warm up, buffers fill and "
        "drain."
    )


def _speed_table(experiment: Experiment) -> str:
    """Medians over a setting's runs; of several runs each one's step time, speed-up and share too. Step times are
    medians over steps, and means beside them, which show where some steps wait."""
    rows = []
    for setting in experiment.settings:
        runs = experiment.runs_of(setting)
        of = [experiment.figures[run.folder] for run in runs]
        ups = [experiment.speed_up(run) for run in runs]
        rows.append(
            (
                setting.name,
                _each([f.step_s for f in of], "{:.2f}"),
                _each([f.mean_step_s for f in of], "{:.2f}"),
                *(_median(of, attrgetter(name), "{:.2f}") for name in STAGES),
                _median(of, lambda f: f.learner_idle, "{:.0%}"),
                _median(of, lambda f: f.engine_idle, "{:.0%}"),
                _each([up.value for up in ups], "{:.2f}") if setting.ratio else "1",
                f"{statistics.median(up.ceiling for up in ups):.2f}",
                _each([up.share for up in ups], "{:.0%}") if setting.ratio else "",
                _each([up.of_means for up in ups], "{:.2f}") if setting.ratio else "1",
                _median(of, lambda f: f.ceiling, "{:.2f}"),
            )
        )
    head = (
        "",
        "step s",
        "mean step s",
        "Tg",
        "Tr",
        "Tt",
        "Ts",
        "learner idle",
        "engine idle",
        "speed-up",
        "ceiling at r = 0",
    )
    return table((*head, "share of it", "by mean steps", "own ceiling"), rows)


def _staleness_table(experiment: Experiment) -> str:
    rows = []
    for setting in experiment.settings:
        runs = experiment.runs_of(setting)
        of = [experiment.figures[run.folder] for run in runs]
        rows.append(
            (
                setting.name,
                ", ".join(f"{lag}: {share:.0%}" for lag, share in mean_lags(of).items()),
                f"{statistics.fmean(f.off_policy for f in of):.0%}",
                _median(of, lambda f: f.mismatch, "{:.4f}"),
                _median(of, lambda f: f.ess, "{:.3f}"),
                _median(of, lambda f: f.masked, "{:.1%}"),
                _each([last_reward(run.folder) for run in runs], "{:.3f}"),
            )
        )
    head = ("", "rollouts by lag", "off-policy", "mean abs(log w)", "effective sample", "masked")
    return table((*head, f"reward, last {LAST_REWARDS} updates"), rows)


def _curve_table(experiment: Experiment) -> str:
    rows = []
    for setting in experiment.settings:
        evaluations = pooled(experiment, setting)
        cells = [f"{accuracy(at.rows)[0]:.3f} ({at.seconds:.0f} s)" for at in evaluations]
        value, low, high = accuracy(evaluations[-1].rows)
        rows.append(
            (setting.name, *cells[:-1], f"{value:.3f} [{low:.3f}, {high:.3f}] ({evaluations[-1].seconds:.0f} s)")
        )
    updates = [f"{at.updates} ({at.samples:,} samples)" for at in pooled(experiment, experiment.settings[0])]
    return table(("updates", *updates), rows)


def _cost_table(experiment: Experiment) -> str:
    synchronous = experiment.settings[0]
    check_paired({setting.name: experiment.rows_after(setting) for setting in experiment.settings})
    rows = []
    for setting in experiment.settings[1:]:
        found = cost(experiment.rows_after(setting), experiment.rows_after(synchronous))
        rows.append((f"{setting.name} - {synchronous.name}", points(found), _over_seeds(found), verdict(found)))
    return table(("points of accuracy", "over samples", "over seeds", ""), rows)


def _over_seeds(found: Difference) -> str:
    interval = seeds_interval(found.seeds)
    if interval is None:
        return "one seed only"
    low, high = interval
    return f"{100 * statistics.fmean(found.seeds):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def verdict(found: Difference) -> str:
    """What both intervals allow to say."""
    over_seeds = seeds_interval(found.seeds)
    if over_seeds is None:
        return ""
    if not found.holds:
        return "not told apart"
    worse = found.value < 0
    if over_seeds[0] <= 0 <= over_seeds[1]:
        return f"{'lower' if worse else 'higher'} in every seed"
    return "costs accuracy" if worse else "gains accuracy"


def _median(of: Sequence[Figures], value: Callable[[Figures], float], form: str) -> str:
    return form.format(statistics.median(map(value, of)))


def _each(values: Sequence[float], form: str) -> str:
    """The median; then each, where there are several."""
    median = form.format(statistics.median(values))
    return median if len(values) == 1 else f"**{median}**; {' '.join(form.format(v) for v in values)}"
