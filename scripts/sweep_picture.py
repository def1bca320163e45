"""async.png: eight panels of the asynchronous sweep. In: its parts. Out: the PNG; a panel without runs says so."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from sweep_experiment import Experiment, accuracy, mean_lags, pooled
from sweep_measures import Setting, rewards

from fundus_ray.obs.curves import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, TEXT_GREY

COLOURS = ("black", BLUE, ORANGE, GREEN, RED, PURPLE, SKY)  # of ratios, in order
INSIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "top", "color": "white", "fontsize": 10}
BESIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "left", "va": "bottom", "fontsize": 10}
SMOOTHED = 5  # updates over which a drawn reward is averaged


def draw(experiments: Sequence[Experiment], path: Path) -> None:
    """Write it. Curves, speed and staleness are of the part with the most ratios, the final accuracy of that with the
    most seeds; of stale settings those with a correction where there are such."""
    figure = Figure(figsize=(21, 10), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.15))
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 4)
    widest = max(experiments, key=lambda e: (len(e.settings), bool(e.befores)))
    shown = _corrected(widest)
    _reward(panels[0, 0], widest, shown, against=0)
    _reward(panels[0, 1], widest, shown, against=1)
    _curves(panels[0, 2], widest, shown, against="samples")
    _curves(panels[0, 3], widest, shown, against="seconds")
    _speed(panels[1, 0], widest, shown)
    _staleness(panels[1, 1], widest, shown)
    _idle(panels[1, 2], widest, shown)
    evaluated = [e for e in experiments if e.befores]
    _final(panels[1, 3], max(evaluated, key=lambda e: len(e.befores), default=None))
    figure.savefig(path)


def _corrected(experiment: Experiment) -> list[Setting]:
    """One setting a ratio: the first that corrects, else the first."""
    ratios = sorted({setting.ratio for setting in experiment.settings})
    by_ratio = {ratio: [s for s in experiment.settings if s.ratio == ratio] for ratio in ratios}
    return [next((s for s in of if s.correction not in ("", "none")), of[0]) for of in by_ratio.values()]


def _reward(axes: Axes, experiment: Experiment, shown: Sequence[Setting], *, against: int) -> None:
    """against: 0 = trained samples, 1 = seconds of training."""
    unit = ("trained samples", "seconds of training")[against]
    _style(axes, f"Training reward (mean of {SMOOTHED} updates)", x=unit, y="reward")
    for setting, colour in zip(shown, COLOURS, strict=False):
        for number, run in enumerate(experiment.runs_of(setting)):
            values = rewards(run.folder)
            name = setting.name if not number else "_again"
            axes.plot(values[against], _smoothed(values[2]), color=colour, linewidth=1.6, label=name)
    _thousands(axes)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _smoothed(values: Sequence[float]) -> list[float]:
    """Each with those just before it."""
    return [statistics.fmean(values[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(values))]


def _curves(axes: Axes, experiment: Experiment, shown: Sequence[Setting], *, against: str) -> None:
    """against: samples or seconds."""
    unit = {"samples": "trained samples", "seconds": "seconds of training"}[against]
    _style(axes, "Held-out accuracy (bars: 95 % interval)", x=unit, y="accuracy")
    if not experiment.befores:
        _leave_empty(axes, "nothing is evaluated in this part")
        return
    reach = max(getattr(point, against) for setting in shown for point in pooled(experiment, setting))
    for place, (setting, colour) in enumerate(zip(shown, COLOURS, strict=False)):
        points = pooled(experiment, setting)
        # A little beside each other, so that the intervals can be told apart.
        at = [getattr(point, against) + (place - len(shown) / 2) * reach / 120 for point in points]
        values = [accuracy(point.rows) for point in points]
        errors = [[v - low for v, low, _ in values], [high - v for v, _, high in values]]
        style: dict[str, Any] = {"linewidth": 1.6, "elinewidth": 0.8, "marker": "o", "markersize": 4}
        axes.errorbar(at, [v for v, _, _ in values], yerr=errors, color=colour, label=setting.name, **style)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _thousands(axes)
    axes.legend(frameon=False, fontsize=9)


def _speed(axes: Axes, experiment: Experiment, shown: Sequence[Setting]) -> None:
    _style(axes, "Speed-up over r = 0, beside its ceiling", x="asynchronous ratio", y="times r = 0")
    stale = [setting for setting in shown if setting.ratio]
    ups = [[experiment.speed_up(run) for run in experiment.runs_of(setting)] for setting in stale]
    for place, of in enumerate(ups):
        value, share = (statistics.median(getattr(up, name) for up in of) for name in ("value", "share"))
        axes.bar(place, value, 0.6, color=COLOURS[(1 + place) % len(COLOURS)])
        axes.annotate(f"{value:.2f}\n{share:.0%}", (place, value), (0, -4), **INSIDE)
        axes.plot([place] * len(of), [up.value for up in of], ".", color="black", markersize=5)
    ceiling = statistics.median(up.ceiling for of in ups for up in of)
    axes.axhline(ceiling, color="black", linestyle="--", linewidth=1.2)
    axes.annotate(f"ceiling {ceiling:.2f}", (0, ceiling), (2, 4), xycoords=("axes fraction", "data"), **BESIDE)
    axes.axhline(1, color=TEXT_GREY, linewidth=0.8, zorder=0)
    axes.set_xticks(range(len(stale)), [f"{setting.ratio:g}" for setting in stale])
    axes.set_ylim(0, 1.15 * max(ceiling, *(up.value for of in ups for up in of)))


def _staleness(axes: Axes, experiment: Experiment, shown: Sequence[Setting]) -> None:
    """Grouped bars: a group a lag, a bar a ratio."""
    _style(axes, "Staleness of what was trained on", x="lag [policy versions]", y="share of rollouts")
    lags = [mean_lags([experiment.figures[run.folder] for run in experiment.runs_of(setting)]) for setting in shown]
    width = 0.85 / len(shown)
    for place, (of, setting) in enumerate(zip(lags, shown, strict=True)):
        at = [lag + (place - (len(shown) - 1) / 2) * width for lag in of]
        axes.bar(at, list(of.values()), width * 0.9, color=COLOURS[place % len(COLOURS)], label=setting.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(-0.6, max(lag for of in lags for lag in of) + 0.6)
    _shares(axes)


def _idle(axes: Axes, experiment: Experiment, shown: Sequence[Setting]) -> None:
    _style(axes, "Idle shares of both sides", x="asynchronous ratio", y="share of the time")
    sides: tuple[tuple[str, Callable[[Path], float], str], ...] = (
        ("learner waits for groups", lambda folder: experiment.figures[folder].learner_idle, BLUE),
        ("engine without a request", lambda folder: experiment.figures[folder].engine_idle, RED),
    )
    for side, (label, value, colour) in enumerate(sides):
        heights = [statistics.median(value(run.folder) for run in experiment.runs_of(s)) for s in shown]
        at = [place + (side - 0.5) * 0.4 for place in range(len(shown))]
        axes.bar(at, heights, 0.36, color=colour, label=label)
        for x, height in zip(at, heights, strict=True):
            axes.annotate(f"{height:.0%}", (x, height), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xticks(range(len(shown)), [f"{setting.ratio:g}" for setting in shown])
    _shares(axes)


def _final(axes: Axes, experiment: Experiment | None) -> None:
    """A line a setting: all seeds with the interval, small points for each seed; hollow: the warm start."""
    _style(axes, "Held-out accuracy in the end (hollow: before RLVR)", x="accuracy (small: each run)", y="")
    if experiment is None:
        _leave_empty(axes, "nothing is evaluated in these runs")
        return
    for place, setting in enumerate(experiment.settings):
        points = pooled(experiment, setting)
        value, low, high = accuracy(points[-1].rows)
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2)
        axes.plot(value, place, "o", color=BLUE, markersize=8)
        axes.plot(accuracy(points[0].rows)[0], place, "o", color=GREY, markerfacecolor="white", markersize=7)
        each = [accuracy(rows)[0] for rows in experiment.rows_after(setting)]
        axes.plot(each, [place + 0.25] * len(each), ".", color=BLUE, markersize=5)
    axes.set_yticks(range(len(experiment.settings)), [setting.name for setting in experiment.settings])
    axes.set_ylim(len(experiment.settings) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="x", alpha=0.3)


def _shares(axes: Axes) -> None:
    """Up to 100 %, with room for the legend above."""
    axes.set_ylim(0, 1.3)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=9, loc="upper center", ncols=3, columnspacing=1.2)


def _thousands(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(left=0)


def _leave_empty(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=TEXT_GREY)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")


def _style(axes: Axes, title: str, *, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
