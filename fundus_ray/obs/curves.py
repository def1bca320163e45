"""curves.png: one picture of a run, six panels, colours that colour-blind readers can tell apart.

In: a `RunRecord`. Out: the PNG. A panel whose metrics were not logged says so instead of staying empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from fundus_ray.obs.run_record import RunRecord, column, lag_counts

# Okabe and Ito's palette (2008), told apart under the common colour-vision deficiencies.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#BBBBBB",
)

TEXT_GREY = "#555555"

# Drawn in this order: the total lies on top of its parts.
REWARD_LINES = (
    ("reward/format", "format", PURPLE, ":"),
    ("reward/consistency", "consistency", ORANGE, "-."),
    ("reward/grounding", "grounding", GREEN, "--"),
    ("reward/accuracy", "accuracy", BLUE, "-"),
    ("reward/total", "total", "black", "-"),
)
IDLE_LINES = (
    ("idle/learner", "learner waits for groups", BLUE, "-"),
    ("idle/generator", "rollout workers without a request", RED, "--"),
)
# The learner side's own timeline: these follow one another and add up to the step.
LEARNER_STAGES = (
    ("time/wait_group", "wait for groups", GREY),
    ("time/update", "update", BLUE),
    ("time/publish", "publish", SKY),
    ("time/deliver", "deliver", ORANGE),
)
OTHER_STAGES = (("time/generate", "generation work", RED, "-"), ("time/score", "reward work", "black", ":"))
BAR_METRICS = (("accuracy", "accuracy"), ("finding_f1", "finding F1"), ("format_rate", "well-formed"))
MANY_STEPS = 80  # beyond this, single points and bars cannot be told apart


def draw_curves(record: RunRecord, path: Path) -> None:
    """Write the picture; works for any number of steps, zero included."""
    figure = Figure(figsize=(15, 13), dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
    FigureCanvasAgg(figure)
    ratio = record.config.get("loop", {}).get("async_ratio", "?")
    name = record.path.resolve().name
    figure.suptitle(f"{name}: policy updates {len(record.steps)}, asynchronous ratio {ratio}", fontsize=15)
    grid = figure.add_gridspec(3, 2)
    _reward(figure.add_subplot(grid[0, 0]), record)
    _held_out(figure.add_subplot(grid[0, 1]), record)
    _staleness(figure.add_subplot(grid[1, 0]), record)
    _idle(figure.add_subplot(grid[1, 1]), record)
    _step_time(figure.add_subplot(grid[2, 0]), record)
    halves = grid[2, 1].subgridspec(2, 1, hspace=0.0)
    _mismatch(figure.add_subplot(halves[0]), record)
    _effective_sample(figure.add_subplot(halves[1]), record)
    figure.savefig(path)


def _reward(axes: Any, record: RunRecord) -> None:
    _style(axes, "Training reward and its parts", y="mean over the step's rollouts")
    if _lines(axes, record, REWARD_LINES):
        axes.set_ylim(0, 1.02)
        _legend_below(axes, ncols=5)


def _held_out(axes: Any, record: RunRecord) -> None:
    _style(axes, "Held-out samples, greedy chains (whiskers: 95 % interval)", y="share", x="")
    shown = [(w, e, c) for w, e, c in (("before RL", record.before, GREY), ("after RL", record.after, BLUE)) if e]
    if not shown:
        _leave_empty(axes, "no evaluation in this run")
        return
    for i, (when, evaluation, colour) in enumerate(shown):
        offset = (i - (len(shown) - 1) / 2) * 0.36
        axes.bar(0, 0, 0, color=colour, label=f"{when} (n = {evaluation.get('n')})")
        for j, (key, _) in enumerate(BAR_METRICS):
            value, low, high = (evaluation.get(f"{key}{end}") for end in ("", "_low", "_high"))
            if value is None:
                axes.annotate("none", (j + offset, 0), (0, 5), textcoords="offset points", ha="center", color=TEXT_GREY)
                continue
            error = None if low is None or high is None else [[max(0, value - low)], [max(0, high - value)]]
            axes.bar(j + offset, value, 0.32, color=colour, yerr=error, capsize=5, error_kw={"elinewidth": 1.5})
            top = (j + offset, max(value, high or 0))
            axes.annotate(f"{value:.1%}", top, (0, 5), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(BAR_METRICS)), [text for _, text in BAR_METRICS])
    axes.set_xlim(-0.6, len(BAR_METRICS) - 0.4)
    axes.set_ylim(0, 1.25)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper left", ncols=2, frameon=False)


def _staleness(axes: Any, record: RunRecord) -> None:
    _style(axes, "Staleness of what was trained on, whole run", y="trained rollouts", x="lag [policy versions]")
    counts = lag_counts(record)
    if not sum(counts.values()):
        _leave_empty(axes, _why_empty(record, ["lag/hist_*"]))
        return
    lags = list(range(max(counts) + 1))
    heights = [counts.get(lag, 0) for lag in lags]
    axes.bar(lags, heights, 0.6, color=BLUE)
    for lag, height in zip(lags, heights, strict=True):
        text = f"{height:,}\n{height / sum(heights):.0%}"
        axes.annotate(text, (lag, height), (0, 4), textcoords="offset points", ha="center")
    axes.set_xticks(lags)
    axes.set_xlim(-0.8, max(lags) + 0.8)
    axes.margins(y=0.16)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _idle(axes: Any, record: RunRecord) -> None:
    _style(axes, "Idle share of both sides", y="share of the step")
    if _lines(axes, record, IDLE_LINES):
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend_below(axes, ncols=2)


def _step_time(axes: Any, record: RunRecord) -> None:
    _style(axes, "Step time: the learner side's timeline (filled), other stages' work (lines)", y="seconds")
    steps, whole = column(record, "time/step")
    if not steps:
        _leave_empty(axes, _why_empty(record, ["time/step"]))
        return
    stacked: list[list[float]] = []
    for name, _, _ in LEARNER_STAGES:
        logged = dict(zip(*column(record, name), strict=True))
        stacked.append([logged.get(step, 0.0) for step in steps])
    spent = [sum(parts) for parts in zip(*stacked, strict=True)]
    stacked.append([max(0.0, w - s) for w, s in zip(whole, spent, strict=True)])
    labels = [label for _, label, _ in LEARNER_STAGES] + ["other"]
    colours = [colour for _, _, colour in LEARNER_STAGES] + [YELLOW]
    if len(steps) > MANY_STEPS:
        axes.stackplot(steps, *stacked, labels=labels, colors=colours)
    else:
        bottom = [0.0] * len(steps)
        for heights, label, colour in zip(stacked, labels, colours, strict=True):
            axes.bar(steps, heights, 0.9, bottom=bottom, color=colour, label=label)
            bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    for name, label, colour, style in OTHER_STAGES:
        marker = "o" if len(steps) <= MANY_STEPS else ""
        axes.plot(*column(record, name), style, color=colour, label=label, marker=marker, markersize=3.5)
    _step_axis(axes, record)
    axes.margins(y=0.04)
    _legend_below(axes, ncols=4)


def _mismatch(axes: Any, record: RunRecord) -> None:
    _style(axes, "Mean |log-probability in the engine - in the learner| of a token", y="|Δ logprob|", x="")
    if not _lines(axes, record, (("mismatch/logprob_abs", "", PURPLE, "-"),)):
        return
    values = [v for v in column(record, "mismatch/logprob_abs")[1] if v > 0]
    if values:
        axes.set_yscale("log")
        # Whole decades without labels between them, else a flat curve gets an axis of crowded ticks.
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)) + 0.01))
    axes.tick_params(labelbottom=False)


def _effective_sample(axes: Any, record: RunRecord) -> None:
    _style(axes, "Effective sample size of the importance weights, as a share", y="ESS")
    if _lines(axes, record, (("mismatch/ess", "", GREEN, "-"),)):
        axes.set_ylim(0, 1.05)


def _lines(axes: Any, record: RunRecord, lines: Sequence[tuple[str, str, str, str]]) -> bool:
    """Plot (metric, label, colour, style) against updates and name those not logged; False where none was."""
    missing = []
    for name, label, colour, style in lines:
        steps, values = column(record, name)
        if not steps:
            missing.append(name)
            continue
        # A line through one point is invisible.
        marker = "o" if len(steps) <= MANY_STEPS else ""
        axes.plot(steps, values, style, color=colour, label=label, marker=marker, markersize=3.5, linewidth=1.8)
    if len(missing) == len(lines):
        _leave_empty(axes, _why_empty(record, missing))
        return False
    if missing:
        note = "not logged: " + ", ".join(missing)
        axes.text(0.99, 0.02, note, transform=axes.transAxes, ha="right", va="bottom", color=TEXT_GREY, fontsize=8)
    _step_axis(axes, record)
    return True


def _step_axis(axes: Any, record: RunRecord) -> None:
    """The same range of updates in every panel."""
    axes.set_xlim(record.steps[0]["step"] - 0.6, record.steps[-1]["step"] + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend_below(axes: Any, *, ncols: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=ncols, frameon=False, columnspacing=1.4)


def _why_empty(record: RunRecord, names: Sequence[str]) -> str:
    return "not logged:\n" + "\n".join(names) if record.steps else "no policy update in this run"


def _leave_empty(axes: Any, why: str) -> None:
    """No empty axes, which read like a measurement of nothing."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=TEXT_GREY, fontsize=11)
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.set_facecolor("#F7F7F7")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _style(axes: Any, title: str, *, y: str, x: str = "policy update") -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel(y)
    axes.set_xlabel(x)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
